// The decoded grant: what a client reads out of a LiveKit token, and what that means in words.

import * as v from "valibot";

/** The payload of a LiveKit token, as far as it is shown. */
export type Grant = v.InferOutput<typeof GrantPayload>;

const GrantPayload = v.looseObject({
  sub: v.string(),
  iss: v.string(),
  nbf: v.number(),
  exp: v.number(),
  video: v.looseObject({ room: v.string() }),
});

const MAY_WORDS: Readonly<Record<string, string>> = {
  roomJoin: "join",
  canPublish: "publish",
  canSubscribe: "subscribe",
  canUpdateOwnMetadata: "update own metadata",
};

/**
 * Decodes a token exactly as clients do it: with `atob`, which knows no base64url.
 *
 * @throws When that cannot be done, or the payload is not that of a LiveKit token.
 */
export function readGrant(jwt: string): Grant {
  return v.parse(GrantPayload, JSON.parse(atob(jwt.split(".")[1] ?? "")));
}

/** What a grant says, in words: names and values. */
export function grantFacts({ sub, iss, nbf, exp, video: { room, ...permissions } }: Grant): [string, string][] {
  const may = Object.entries(permissions).filter(([, value]) => value === true).map(([name]) =>
    MAY_WORDS[name] ?? name
  );
  return [
    ["Identity", sub],
    ["Room on the SFU", room],
    ["May", may.join(", ") || "nothing"],
    ["Valid", `${Math.round((exp - nbf) / 60)} min, until ${new Date(exp * 1000).toISOString().slice(11, 19)} UTC`],
    ["Signed with the key", iss],
  ];
}
