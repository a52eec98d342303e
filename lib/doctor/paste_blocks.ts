// The blocks to paste for this set-up: what homeserver, SFU and proxy need, with the names that are known.

/** What is known of the set-up. */
export interface KnownSetup {
  /** The first homeserver that is named; null = none. */
  readonly serverName: string | null;
  /** Its client-server API, as its clients find it; null = unknown. */
  readonly baseUrl: string | null;
  /** Where clients reach this service; null = unknown. */
  readonly publicUrl: string | null;
  readonly apiKey: string;
  /** Where this service listens, as a URL that a proxy on the same host can use. */
  readonly ownUrl: string;
}

/** A block of configuration, and where it belongs. */
export interface PasteBlock {
  readonly where: string;
  readonly text: string;
}

/** All blocks, in the order in which a set-up is made. */
export function pasteBlocks({ serverName, baseUrl, publicUrl, apiKey, ownUrl }: KnownSetup): PasteBlock[] {
  const server = serverName ?? "example.com";
  const url = publicUrl ?? "https://matrix-rtc.example.com/livekit/jwt";
  const { pathname } = new URL(url);
  const prefix = pathname.replace(/\/+$/, "");
  return [
    {
      where: `https://${server}/.well-known/matrix/client (with Access-Control-Allow-Origin: *)`,
      text: JSON.stringify(
        {
          "m.homeserver": { base_url: baseUrl ?? `https://matrix.${server}` },
          "org.matrix.msc4143.rtc_foci": [{ type: "livekit", livekit_service_url: url }],
        },
        null,
        2,
      ),
    },
    {
      where: "homeserver.yaml of Synapse",
      text: [
        "max_event_delay_duration: 24h",
        "rc_delayed_event_mgmt: {per_second: 20, burst_count: 100}",
        "listeners:",
        "  - {port: 8008, type: http, x_forwarded: true, resources: [{names: [client, federation, openid]}]}",
      ].join("\n"),
    },
    {
      where: "livekit.yaml",
      text: [
        "room: {auto_create: false}",
        "keys:",
        `  ${apiKey}: <LIVEKIT_SECRET>`,
        `webhook: {api_key: ${apiKey}, urls: ["${ownUrl}/sfu_webhook"]}`,
      ].join("\n"),
    },
    {
      where: "nginx, in the server of " + new URL(url).hostname,
      text: [`location ${prefix}/ {`, `    proxy_pass ${ownUrl}/;`, "}"].join("\n"),
    },
    {
      where: "or the Caddyfile",
      text: prefix === ""
        ? `reverse_proxy ${ownUrl}`
        : [`handle_path ${prefix}/* {`, `    reverse_proxy ${ownUrl}`, "}"].join("\n"),
    },
  ];
}
