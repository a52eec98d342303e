// One plain request, as the tests of the development servers send it: certificates are checked, redirects are not
// followed, and a broken answer is an error.

import http, { type IncomingMessage } from "node:http";
import https, { type RequestOptions } from "node:https";

/** A whole answer. */
export interface Reply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Uint8Array;
  readonly text: string;
  /** How many pieces the body came in. */
  readonly pieces: number;
}

/** Sends it and reads the answer to its end. `options` are those of `node:https`, such as `ca` and `servername`. */
export function ask(url: URL, path: string, options: RequestOptions = {}, body?: string | Uint8Array): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const send = url.protocol === "https:" ? https.request : http.request;
    const onResponse = (response: IncomingMessage) => {
      const chunks: Uint8Array[] = [];
      response.on("data", (chunk: Uint8Array) => chunks.push(chunk));
      response.on("error", reject);
      response.on("aborted", () => reject(new Error("The answer broke off")));
      response.on("end", () => {
        const body = Buffer.concat(chunks);
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body,
          text: body.toString(),
          pieces: chunks.length,
        });
      });
    };
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const request = send({ host, port: url.port, path, agent: false, ...options }, onResponse);
    request.on("error", reject);
    request.end(body);
  });
}
