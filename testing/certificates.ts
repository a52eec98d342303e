// A throw-away certificate authority for development homeservers, tests and benchmarks: verified TLS on loopback
// without a line of set-up. Never part of the released binary.

import "reflect-metadata"; // @peculiar/x509 refuses to load without it
import * as x509 from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY_MS = 86_400_000;

/** What a TLS server needs, both PEM. */
export interface ServerCertificate {
  readonly certificate: string;
  readonly privateKey: string;
}

/** What a certificate is for, and when it is valid (default: from yesterday for 30 days). */
export interface CertificateRequest {
  readonly dnsNames?: readonly string[];
  readonly addresses?: readonly string[];
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

/** A private root: whoever trusts {@link CertificateAuthority.certificate} trusts all that it issues. */
export class CertificateAuthority {
  readonly #root: x509.X509Certificate;
  readonly #keys: CryptoKeyPair;
  #serial = 1;

  private constructor(root: x509.X509Certificate, keys: CryptoKeyPair) {
    this.#root = root;
    this.#keys = keys;
  }

  /** Makes a new root that exists in memory only. */
  static async create(name = "Development CA"): Promise<CertificateAuthority> {
    const keys = await newKeys();
    const root = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: "01",
      name: `CN=${name}`,
      ...validity({}),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 1, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return new CertificateAuthority(root, keys);
  }

  /** The root, PEM: hand it to `LIVEKIT_EXTRA_CA_FILE`. */
  get certificate(): string {
    return this.#root.toString("pem");
  }

  /** Issues a server certificate for the names and addresses asked. */
  async issue(request: CertificateRequest): Promise<ServerCertificate> {
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: (++this.#serial).toString(16).padStart(2, "0"),
      subject: "CN=Development server",
      issuer: this.#root.subject,
      ...validity(request),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension([
          ...(request.dnsNames ?? []).map((value) => ({ type: "dns" as const, value })),
          ...(request.addresses ?? []).map((value) => ({ type: "ip" as const, value })),
        ]),
        await x509.AuthorityKeyIdentifierExtension.create(this.#keys.publicKey),
      ],
    });
    const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
    return {
      certificate: certificate.toString("pem"),
      privateKey: x509.PemConverter.encode(pkcs8, "PRIVATE KEY"),
    };
  }
}

function newKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]) as Promise<CryptoKeyPair>;
}

function validity(request: CertificateRequest): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return {
    notBefore: request.notBefore ?? new Date(now - DAY_MS),
    notAfter: request.notAfter ?? new Date(now + 30 * DAY_MS),
  };
}
