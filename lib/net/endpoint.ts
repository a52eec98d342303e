// What a URL says about where to connect: the part of an outbound request that is the same wherever a URL comes from.

import { isIP } from "node:net";
import type { OutboundRequest } from "./client.ts";

/** Where to connect, and as whom to greet. */
export type Dial = Pick<OutboundRequest, "secure" | "host" | "port" | "hostHeader" | "tlsName">;

/** The dial of an `http:` or `https:` URL; its path is the caller's business. */
export function dialOf(url: URL): Dial {
  const secure = url.protocol === "https:";
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return {
    secure,
    host,
    port: url.port === "" ? (secure ? 443 : 80) : Number(url.port),
    hostHeader: url.host,
    tlsName: isIP(host) > 0 ? null : host,
  };
}

/** A base URL's path without the slashes at its end, to put other paths behind. */
export function basePathOf(url: URL): string {
  return url.pathname.replace(/\/+$/, "");
}
