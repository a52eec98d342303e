// How packagers start the service: their variables with values that are no defaults, their user, their paths, what they
// confine it with, and how they ask whether it runs. Read in their charts, roles, modules and composes; names, ports and
// secrets are of the tests.

import {
  healthcheck,
  kubelet,
  molecule,
  pathsOfProxies,
  type Probe,
  routesByHand,
  tcpConnect,
} from "./packager_probes.ts";

/** Where images keep the certificates that they trust. */
export const CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt";

/** What an installation is made from. */
export interface Parts {
  /** Where the service must listen. */
  readonly port: number;
  /** The homeserver of the full-access users. */
  readonly server: string;
  /** Its client API without TLS, for those inside. */
  readonly internalApi: string;
  /** What clients are told, and where the service finds the SFU over TLS: `wss://…/livekit/sfu`. */
  readonly sfuUrl: string;
  /** The same under a name that only a hosts file knows. */
  readonly aliasedSfuUrl: string;
  /** That hosts file. */
  readonly hosts: string;
  readonly key: string;
  readonly secret: string;
  /** The variables of the three above that nobody does without: `LIVEKIT_URL`, `LIVEKIT_KEY`, `LIVEKIT_SECRET`. */
  readonly required: Readonly<Record<string, string>>;
  /** PEM of whoever issued the homeserver's and the SFU's certificates. */
  readonly caCertificate: string;
}

/** An installation. */
export interface SetUp {
  readonly variables: Readonly<Record<string, string>>;
  /** What the service must print about them. */
  readonly understood: readonly string[];
  /** Texts by their paths; the service's user alone may read them. */
  readonly files?: Readonly<Record<string, string>>;
  /** A script for bash that becomes the command given. */
  readonly entrypoint?: (command: string) => string;
}

/** A packager. */
export interface Packager {
  readonly who: string;
  readonly uid: number;
  /** Where the executable is; in images `/lk-jwt-service`. */
  readonly path?: string;
  readonly systemdFilters?: "EPERM";
  /** Whether homeserver and SFU have certificates that nobody trusts. */
  readonly isSelfSigned?: true;
  readonly setUp: (parts: Parts) => SetUp;
  readonly probe: Probe;
}

/** A key that the SFU knows besides its own, with a secret as short as that of a development set-up. */
export const DEVELOPMENT_KEY = { key: "devkey", secret: "secret" } as const;

const SKIP_TLS = { LIVEKIT_INSECURE_SKIP_VERIFY_TLS: "YES_I_KNOW_WHAT_I_AM_DOING" };
const NIX_PATH = "/nix/store/2gk3vrvzd0cqsl8mvq1d5qb0s0wgvkbm-lk-jwt-service-0.6.0/bin/lk-jwt-service";
const CREDENTIALS = "/run/credentials/lk-jwt-service.service";

const ON_KUBERNETES: readonly Packager[] = [
  {
    who: "the ESS chart",
    uid: 10_033,
    setUp: ({ port, server, internalApi, aliasedSfuUrl, hosts, key, secret }) => ({
      variables: {
        LIVEKIT_KEY: key,
        LIVEKIT_SECRET_FROM_FILE: "/secrets/ess-generated/ELEMENT_CALL_LIVEKIT_SECRET",
        LIVEKIT_URL: aliasedSfuUrl,
        LIVEKIT_FULL_ACCESS_HOMESERVERS: server,
        LIVEKIT_CS_API_URL_OVERRIDES: `${server}=${internalApi}`,
        LIVEKIT_JWT_BIND: `:${port}`, // extraEnv
        KUBERNETES_SERVICE_HOST: "10.43.0.1",
        KUBERNETES_PORT: "tcp://10.43.0.1:443",
      },
      understood: [
        `api_keys=["${key}"]`,
        `full_access=["${server}"]`,
        `cs_api_url_overrides={"${server}":"${internalApi}"}`,
      ],
      files: { "/secrets/ess-generated/ELEMENT_CALL_LIVEKIT_SECRET": secret, "/etc/hosts": hosts },
    }),
    probe: kubelet,
  },
  {
    who: "the ESS chart with keys of its own, unrestricted, as its CI runs it",
    uid: 10_033,
    isSelfSigned: true,
    setUp: ({ port, sfuUrl, key, secret }) => ({
      variables: {
        LIVEKIT_KEY_FILE: "/secrets/ess-matrix-rtc-authorisation-service/LIVEKIT_KEYS_YAML",
        LIVEKIT_URL: sfuUrl,
        LIVEKIT_FULL_ACCESS_HOMESERVERS: "*",
        LIVEKIT_JWT_BIND: `:${port}`,
        ...SKIP_TLS,
      },
      understood: [`api_keys=["${key}"]`, "full_access=*", "skip_tls_verification=true"],
      files: { "/secrets/ess-matrix-rtc-authorisation-service/LIVEKIT_KEYS_YAML": `${key}: ${secret}\n` },
    }),
    probe: kubelet,
  },
  {
    who: "a chart whose Service is named lk-jwt, with the variables that Kubernetes makes of that",
    uid: 65_532,
    setUp: ({ port, server, required }) => ({
      variables: {
        ...required,
        LIVEKIT_FULL_ACCESS_HOMESERVERS: server,
        LIVEKIT_JWT_PORT: String(port),
        LK_JWT_PORT: "tcp://10.43.7.8:80",
        LK_JWT_SERVICE_HOST: "10.43.7.8",
        LK_JWT_SERVICE_PORT: "80",
        LIVEKIT_PORT: "tcp://10.43.7.9:7880",
        LIVEKIT_SERVICE_HOST: "10.43.7.9",
      },
      understood: [`bind=:${port}`],
    }),
    probe: kubelet,
  },
];

const UNDER_SYSTEMD: readonly Packager[] = [
  {
    who: "the NixOS module, with the two settings of the README",
    uid: 61_184,
    path: NIX_PATH,
    systemdFilters: "EPERM",
    setUp: ({ port, server, sfuUrl, key, secret }) => ({
      variables: {
        LIVEKIT_URL: sfuUrl,
        LIVEKIT_KEY_FROM_FILE: `${CREDENTIALS}/LIVEKIT_KEY_FROM_FILE`,
        LIVEKIT_SECRET_FROM_FILE: `${CREDENTIALS}/LIVEKIT_SECRET_FROM_FILE`,
        LIVEKIT_JWT_BIND: `127.0.0.1:${port}`,
        LIVEKIT_FULL_ACCESS_HOMESERVERS: `${server},matrix.org`,
        CREDENTIALS_DIRECTORY: CREDENTIALS,
        INVOCATION_ID: "0123456789abcdef0123456789abcdef",
        LANG: "en_US.UTF-8",
      },
      understood: [`bind=127.0.0.1:${port}`, `full_access=["${server}","matrix.org"]`, `api_keys=["${key}"]`],
      files: {
        [`${CREDENTIALS}/LIVEKIT_KEY_FROM_FILE`]: `${key}\n`,
        [`${CREDENTIALS}/LIVEKIT_SECRET_FROM_FILE`]: `${secret}\n`,
      },
    }),
    probe: tcpConnect,
  },
  {
    who: "the older NixOS module, with the key file of LiveKit and those settings",
    uid: 61_185,
    path: NIX_PATH,
    systemdFilters: "EPERM",
    setUp: ({ port, sfuUrl, key, secret }) => ({
      variables: {
        LIVEKIT_URL: sfuUrl,
        LIVEKIT_JWT_PORT: String(port),
        LIVEKIT_KEY_FILE: `${CREDENTIALS}/livekit-secrets`,
        LIVEKIT_FULL_ACCESS_HOMESERVERS: "*",
        CREDENTIALS_DIRECTORY: CREDENTIALS,
      },
      understood: [`bind=:${port}`, "full_access=*", `api_keys=["${key}"]`],
      files: { [`${CREDENTIALS}/livekit-secrets`]: `${key}: ${secret}` },
    }),
    probe: tcpConnect,
  },
  {
    who: "a unit of one's own for the file of a release",
    uid: 998,
    path: "/usr/local/bin/lk-jwt-service",
    setUp: ({ port, server, sfuUrl, key, secret }) => ({
      variables: {
        LIVEKIT_URL: sfuUrl,
        LIVEKIT_KEY_FILE: "/etc/lk-jwt-service/keys",
        LIVEKIT_FULL_ACCESS_HOMESERVERS: `example.org ${server}`,
        LIVEKIT_JWT_BIND: `[::1]:${port}`,
        LIVEKIT_LOG_LEVEL: "debug",
        HOME: "/",
        USER: "lk-jwt-service",
      },
      understood: [`bind="[::1]:${port}"`, `full_access=["example.org","${server}"]`, "log_level=debug"],
      files: { "/etc/lk-jwt-service/keys": `${key}: ${secret}\n` },
    }),
    probe: healthcheck("healthcheck"),
  },
];

const IN_DOCKER: readonly Packager[] = [
  {
    who: "matrix-docker-ansible-deploy",
    uid: 991,
    setUp: ({ port, server, required }) => ({
      variables: {
        ...required,
        LIVEKIT_JWT_BIND: `:${port}`,
        LIVEKIT_FULL_ACCESS_HOMESERVERS: `${server},second.example.org`,
        LIVEKIT_CS_API_URL_OVERRIDES: "",
        LIVEKIT_LOG_LEVEL: "debug", // an extension line, as the next one
        MOLECULE_LIVEKIT_MARKER: "environment-reached",
      },
      understood: [
        `bind=:${port}`,
        `full_access=["${server}","second.example.org"]`,
        "cs_api_url_overrides={}",
        "log_level=debug",
      ],
    }),
    probe: molecule,
  },
  {
    who: "matrix-docker-ansible-deploy, as it was",
    uid: 991,
    setUp: ({ port, required }) => ({
      variables: { ...required, LIVEKIT_JWT_PORT: String(port) },
      understood: [`bind=:${port}`, "full_access=*"],
    }),
    probe: molecule,
  },
  {
    who: "Element Call's development compose",
    uid: 65_532,
    isSelfSigned: true,
    setUp: ({ port, sfuUrl }) => ({
      variables: {
        LK_JWT_PORT: String(port),
        LIVEKIT_URL: sfuUrl,
        LIVEKIT_KEY: DEVELOPMENT_KEY.key,
        LIVEKIT_SECRET: DEVELOPMENT_KEY.secret,
        ...SKIP_TLS,
      },
      understood: [`bind=:${port}`, `api_keys=["${DEVELOPMENT_KEY.key}"]`, "skip_tls_verification=true"],
    }),
    probe: pathsOfProxies,
  },
  {
    who: "Element Call's guide to self-hosting",
    uid: 65_532,
    setUp: ({ port, server, required }) => ({
      variables: {
        ...required,
        LIVEKIT_JWT_BIND: `0.0.0.0:${port}`,
        LIVEKIT_FULL_ACCESS_HOMESERVERS: server,
      },
      understood: [`bind=0.0.0.0:${port}`, `full_access=["${server}"]`],
    }),
    probe: pathsOfProxies,
  },
  {
    who: "the guides of continuwuity and tuwunel",
    uid: 1000,
    setUp: ({ port, server, required }) => ({
      variables: { ...required, LIVEKIT_JWT_BIND: `:${port}`, LIVEKIT_FULL_ACCESS_HOMESERVERS: server },
      understood: [`bind=:${port}`, `full_access=["${server}"]`],
    }),
    probe: routesByHand,
  },
  {
    who: "element-docker-demo, whose script reads the secrets and becomes the service",
    uid: 1000,
    setUp: ({ port, sfuUrl, key, secret, caCertificate }) => ({
      variables: {
        LIVEKIT_FQDN: sfuUrl.slice("wss://".length),
        DOMAIN: "example.com",
        REPORT_STATS: "no",
        SSL_CERT_FILE: "/data/ssl/ca-certificates.crt",
      },
      understood: [`bind=:${port}`, `api_keys=["${key}"]`, `livekit_url=${sfuUrl}`],
      files: {
        "/run/secrets/livekit_api_key": `${key}\n`,
        "/run/secrets/livekit_secret_key": `${secret}\n`,
        "/data/ssl/ca-certificates.crt": caCertificate,
      },
      entrypoint: (command) => `
export LK_JWT_PORT=${port} LIVEKIT_URL="wss://$LIVEKIT_FQDN"
LIVEKIT_KEY=$(< /run/secrets/livekit_api_key) LIVEKIT_SECRET=$(< /run/secrets/livekit_secret_key) exec ${command}`,
    }),
    probe: routesByHand,
  },
  {
    who: "composes with the image's health check, read-only",
    uid: 991,
    setUp: ({ port, server, sfuUrl, key, secret }) => ({
      variables: {
        LIVEKIT_URL: sfuUrl.replace(/^wss:/, "https:"),
        LIVEKIT_KEY_FROM_FILE: "/run/secrets/key",
        LIVEKIT_SECRET_FROM_FILE: "/run/secrets/secret",
        LIVEKIT_FULL_ACCESS_HOMESERVERS: server,
        LIVEKIT_JWT_BIND: `:${port}`,
        LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS: "45",
      },
      understood: ["livekit_url=https://", `api_keys=["${key}"]`, "sanity_check_interval_seconds=45"],
      files: { "/run/secrets/key": `${key}\n`, "/run/secrets/secret": `${secret}\r\n` },
    }),
    probe: healthcheck("/lk-jwt-service-healthcheck"),
  },
  {
    who: "composes of 0.3 and 0.4, with the names of then",
    uid: 65_534,
    setUp: ({ port, server, required }) => ({
      variables: { ...required, LK_JWT_PORT: String(port), LIVEKIT_LOCAL_HOMESERVERS: server },
      understood: [`bind=:${port}`, `full_access=["${server}"]`],
    }),
    probe: routesByHand,
  },
  {
    who: "Railway, which gives the port and asks over IPv6",
    uid: 0,
    setUp: ({ port, server, required }) => ({
      variables: {
        ...required,
        PORT: String(port),
        RAILWAY_ENVIRONMENT_NAME: "production",
        RAILWAY_PRIVATE_DOMAIN: "lk-jwt-service.railway.internal",
        LIVEKIT_JWT_BIND: `[::]:${port}`,
        LIVEKIT_FULL_ACCESS_HOMESERVERS: server,
      },
      understood: [`bind=:${port}`, `full_access=["${server}"]`],
    }),
    probe: kubelet,
  },
  {
    who: "an add-on of Home Assistant",
    uid: 0,
    setUp: ({ port, server, sfuUrl, key, secret }) => ({
      variables: { SUPERVISOR_TOKEN: "0123456789abcdef", TZ: "Europe/Berlin" },
      understood: [`bind=0.0.0.0:${port}`, `full_access=["${server}"]`, `api_keys=["${key}"]`],
      files: { "/data/secret": secret },
      entrypoint: (command) => `
export LIVEKIT_URL=${sfuUrl} LIVEKIT_KEY=${key} LIVEKIT_SECRET_FROM_FILE=/data/secret
export LIVEKIT_FULL_ACCESS_HOMESERVERS=${server} LIVEKIT_JWT_BIND=0.0.0.0:${port}
exec ${command}`,
    }),
    probe: tcpConnect,
  },
];

/** All of them. */
export const PACKAGERS: readonly Packager[] = [...ON_KUBERNETES, ...UNDER_SYSTEMD, ...IN_DOCKER];
