// Whom the service trusts for TLS: the system's roots, SSL_CERT_FILE, SSL_CERT_DIR and the operator's extra CA file,
// set once for the whole process. Handing roots to each connection would cost ten times as much.

import tls from "node:tls";

/** Where trust comes from besides the system's own store (which honors SSL_CERT_FILE by itself). */
export interface TrustSources {
  /** `SSL_CERT_DIR`: one or more folders, separated by colons. */
  readonly certificateDirs: string | undefined;
  /** PEM text of `LIVEKIT_EXTRA_CA_FILE`. */
  readonly extraCertificates: string | undefined;
}

/**
 * Sets the default CA certificates of the process.
 *
 * @returns Warnings for the log.
 */
export function setTrust(sources: TrustSources): string[] {
  const warnings: string[] = [];
  // Runtimes before 2.8 lack the call, and then trust what they bundle.
  const setDefaults = "setDefaultCACertificates" in tls ? tls.setDefaultCACertificates : undefined;
  if (typeof setDefaults !== "function" || typeof tls.getCACertificates !== "function") {
    return ["Cannot set the trusted CA certificates: this runtime only knows its bundled ones"];
  }
  const system = tls.getCACertificates("system");
  const trusted = new Map<string, string>();
  const trust = (certificate: string) => trusted.set(certificate.replace(/\s/g, ""), certificate);
  for (const root of system.length > 0 ? system : tls.getCACertificates("bundled")) trust(root);
  for (const folder of sources.certificateDirs?.split(":") ?? []) {
    try {
      certificatesIn(folder).forEach(trust);
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      warnings.push(`Cannot read SSL_CERT_DIR "${folder}": ${cause}`);
    }
  }
  splitPem(sources.extraCertificates ?? "").forEach(trust);
  setDefaults([...trusted.values()]);
  return warnings;
}

const CERTIFICATE = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]+-----END (?:TRUSTED )?CERTIFICATE-----/g;

/** The certificates of a PEM text. */
export function splitPem(text: string): string[] {
  return text.match(CERTIFICATE) ?? [];
}

function certificatesIn(folder: string): string[] {
  if (folder === "") return [];
  const found: string[] = [];
  for (const entry of Deno.readDirSync(folder)) {
    // The hashed names of OpenSSL's folders (5ed36f99.0) are links to files that are read anyway.
    if (entry.isDirectory || entry.isSymlink && /^[0-9a-f]{8}\.\d+$/.test(entry.name)) continue;
    try {
      found.push(...splitPem(Deno.readTextFileSync(`${folder}/${entry.name}`)));
    } catch {
      // A dangling link, a key that only root reads, a binary file: not a certificate for us.
    }
  }
  return found;
}
