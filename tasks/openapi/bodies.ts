// The bodies of the service, as JSON Schema, with an example each.

import type { Data } from "./yaml.ts";

const OPENID_TOKEN = {
  access_token: "abcdefghijklmnop",
  token_type: "Bearer",
  matrix_server_name: "example.com",
  expires_in: 3600,
};

/** A body of `/sfu/get`. */
export const LEGACY_BODY = { room: "!room:example.com", openid_token: OPENID_TOKEN, device_id: "DEVICE" };

/** A body of `/get_token`. */
export const HASHED_BODY = {
  room_id: "!room:example.com",
  slot_id: "m.call#ROOM",
  openid_token: OPENID_TOKEN,
  member: { id: "member-1", claimed_user_id: "@alice:example.com", claimed_device_id: "DEVICE" },
};

/** A body of `/delegate_delayed_leave`. */
export const DELEGATION_BODY = { ...HASHED_BODY, delay_id: "syd_abcdefghij", delay_timeout: 3_600_000 };

/** A body of `/sfu_webhook`. */
export const WEBHOOK_BODY = {
  event: "participant_left",
  room: { name: "krj2dgxw2K6EOm9he4GfQJ6JsSVWfJ8a7BkyjZcSmxs" },
  participant: {
    identity: "vYVt8NUMTb0rAawkFqilcAtxKgY26U3Ab7R9INviNnU",
    disconnectReason: "CLIENT_INITIATED",
  },
  id: "EV_1",
  createdAt: "1700000000",
};

const text = (description: string): Data => ({ type: "string", minLength: 1, description });

const DELAY_FIELDS = {
  delay_id: text("ID of the delayed leave event (MSC4140), together with `delay_timeout`; not `.` or `..`."),
  delay_timeout: {
    description: "The event's own delay in ms, above 0 and taken as at most 24 h. A number, or its digits as a text.",
    anyOf: [{ type: "integer", minimum: 1 }, { type: "string", pattern: "^[+]?[0-9]{1,20}([.]0*)?$" }],
  },
};

const HASHED = {
  room_id: text("Matrix room ID."),
  slot_id: text("Slot in the room; `m.call#ROOM` gives the room of `/sfu/get`."),
  openid_token: { $ref: "#/components/schemas/OpenIdToken" },
  member: {
    type: "object",
    required: ["id", "claimed_user_id", "claimed_device_id"],
    properties: {
      id: text("The member's own ID."),
      claimed_user_id: text("Must be the user of the OpenID token."),
      claimed_device_id: text("Chosen by the client, not verified."),
    },
  },
  ...DELAY_FIELDS,
};

const TOGETHER = { delay_id: ["delay_timeout"], delay_timeout: ["delay_id"] };

/** All schemas that have a name. */
export const SCHEMAS: { readonly [name: string]: Data } = {
  OpenIdToken: {
    type: "object",
    description: "What the client's homeserver gave it for `POST …/openid/request_token`.",
    required: ["access_token", "matrix_server_name"],
    properties: {
      access_token: text("Shown to the homeserver it names, never logged."),
      matrix_server_name: text("Server to ask; the only input to the decision about full access."),
      token_type: { description: "Ignored." },
      expires_in: { description: "Ignored." },
    },
  },
  LegacyRequest: {
    type: "object",
    required: ["room", "openid_token"],
    dependentRequired: TOGETHER,
    properties: {
      room: text("Matrix room ID."),
      openid_token: { $ref: "#/components/schemas/OpenIdToken" },
      device_id: {
        type: "string",
        description: "Chosen by the client, not verified. The identity made of it is at most 256 bytes.",
      },
      ...DELAY_FIELDS,
      delay_cs_api_url: { description: "Ignored." },
    },
  },
  HashedRequest: {
    type: "object",
    required: ["room_id", "slot_id", "openid_token", "member"],
    dependentRequired: TOGETHER,
    properties: HASHED,
  },
  DelegationRequest: {
    type: "object",
    required: ["room_id", "slot_id", "openid_token", "member", "delay_id", "delay_timeout"],
    properties: HASHED,
  },
  Grant: {
    type: "object",
    additionalProperties: false,
    required: ["url", "jwt"],
    properties: {
      url: { type: "string", description: "`LIVEKIT_URL`, byte for byte." },
      jwt: {
        type: "string",
        pattern: "^[A-Za-z0-9]+[.][A-Za-z0-9]+[.][A-Za-z0-9_-]+$",
        description: "HS256; its payload holds no character that base64 and base64url write differently.",
      },
    },
  },
};
