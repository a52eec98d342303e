// Settings of services under pressure.

import { DEVELOPMENT_API_SECRET } from "../fake_sfu.ts";

/** The name of the API key of {@link lonelySettings}. */
export const API_KEY = "devkey";

/** For a service that gets no request good enough to ask another server. */
export function lonelySettings(): Record<string, string> {
  return {
    LIVEKIT_URL: "ws://127.0.0.1:9",
    LIVEKIT_KEY: API_KEY,
    LIVEKIT_SECRET: DEVELOPMENT_API_SECRET,
    LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
    LIVEKIT_LOG_LEVEL: "error",
  };
}
