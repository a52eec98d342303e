// Who may delegate a leave event, and what the others are told.

import assert from "node:assert/strict";
import { MatrixError } from "../../lib/matrix_error.ts";
import { Delegations, type DelegationsDeps, type DelegationWish } from "../../lib/leave/delegations.ts";
import type { Delegation } from "../../lib/leave/machine/job.ts";
import type { Identity, RoomAlias } from "../../lib/livekit/identity.ts";
import { parseUserId, type UserId } from "../../lib/matrix/server_name.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { ManualClock } from "../../testing/manual_clock.ts";
import { settle } from "../../testing/virtual_time.ts";

function user(id: string): UserId {
  const parsed = parseUserId(id);
  assert.ok(parsed !== null);
  return parsed;
}

const WISH: DelegationWish = {
  delayId: "syd_1",
  delayMs: 10_000,
  user: user("@alice:example.com:8448"),
  room: "room" as RoomAlias,
  identity: "hash" as Identity,
  alsoWatched: "@alice:example.com:8448:DEVICE" as Identity,
  access: "full",
  refusal: "at its own route",
};

function bench(
  options: Partial<DelegationsDeps> & { readonly jobs?: number; readonly supports?: boolean | null } = {},
) {
  const log = new RecordingLog();
  const clock = new ManualClock();
  const accepted: Delegation[] = [];
  const asked = { discovery: 0, versions: 0 };
  const { jobs = 0, supports = true, ...deps } = options;
  const delegations = new Delegations({
    manager: {
      accept: (delegation) => {
        accepted.push(delegation);
        return Promise.resolve();
      },
      jobs: {
        size: jobs,
        bytes: 0,
        largestHost: "",
        countOfHost: () => jobs,
        countOfSameUser: () => 0,
        countOfSameUserInRoom: () => 0,
        of: () => undefined,
        ofEvent: () => undefined,
      },
    },
    discovery: {
      find: () => {
        asked.discovery++;
        const api = { baseUrl: new URL("https://matrix.example.com"), rule: "public" } as const;
        return Promise.resolve({ outcome: "found", api });
      },
    },
    delayedEvents: {
      supports: () => {
        asked.versions++;
        return Promise.resolve(supports);
      },
    },
    allowsRestricted: false,
    isListed: () => false,
    namesServers: true,
    clock,
    log,
    ...deps,
  });
  const prepare = (wish: Partial<DelegationWish> = {}, signal = new AbortController().signal) =>
    delegations.prepare({ ...WISH, ...wish }, signal);
  return { log, clock, accepted, asked, prepare };
}

async function refusalOf(work: Promise<unknown>): Promise<[number, string, string]> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof MatrixError);
    return [error.status, error.errcode, error.message];
  }
  throw new assert.AssertionError({ message: "it was not refused" });
}

Deno.test("a wish of a user with full access is carried out when it is asked for, and not before", async () => {
  const { prepare, accepted } = bench();
  const takeCharge = await prepare();
  assert.equal(accepted.length, 0);
  await takeCharge();
  assert.deepEqual(accepted, [{
    room: "room",
    identity: "hash",
    watched: ["hash", "@alice:example.com:8448:DEVICE"],
    homeserver: "example.com:8448",
    delayId: "syd_1",
    delayMs: 10_000,
  }]);
});

Deno.test("an identity that is the same twice is watched once, and one over LiveKit's limit not at all", async () => {
  const { prepare, accepted } = bench();
  await (await prepare({ alsoWatched: WISH.identity }))();
  await (await prepare({ alsoWatched: `@a:b:${"x".repeat(256)}` as Identity }))();
  assert.deepEqual(accepted.map(({ watched }) => watched), [["hash"], ["hash"]]);
});

const RESTRICTED = "Delegation of delayed events is only supported for full access users";
const REFUSALS: readonly (readonly [
  name: string,
  options: Parameters<typeof bench>[0],
  wish: Partial<DelegationWish>,
  refusal: readonly [number, string, RegExp],
])[] = [
  ["delegation switched off", { manager: null }, {}, [400, "M_BAD_JSON", /switched off/]],
  ["a restricted user, at a token route", {}, { access: "restricted", refusal: "at a token route" }, [
    400,
    "M_BAD_JSON",
    new RegExp(`^${RESTRICTED}$`),
  ]],
  ["a restricted user, at the route of its own", {}, { access: "restricted" }, [
    403,
    "M_FORBIDDEN",
    new RegExp(`^${RESTRICTED}$`),
  ]],
  ["one job too many, at a token route", { jobs: 1000 }, { refusal: "at a token route" }, [
    400,
    "M_BAD_JSON",
    /Too many/,
  ]],
  ["one job too many, at the route of its own", { jobs: 1000 }, {}, [403, "M_FORBIDDEN", /Too many/]],
  [
    "a homeserver without a client-server API",
    {
      discovery: { find: () => Promise.resolve({ outcome: "not-found", steps: ["example.com: status 404"] }) },
    },
    {},
    [400, "M_BAD_JSON", /^Unable to resolve client-server API$/],
  ],
];
for (const [name, options, wish, [status, errcode, text]] of REFUSALS) {
  Deno.test(`${name} is refused with ${status} ${errcode}`, async () => {
    const { prepare, accepted } = bench(options);
    const [gotStatus, gotErrcode, gotText] = await refusalOf(prepare(wish));
    assert.deepEqual([gotStatus, gotErrcode], [status, errcode]);
    assert.match(gotText, text);
    assert.equal(accepted.length, 0);
  });
}

Deno.test("a restricted user is refused before anybody is asked anything", async () => {
  const { prepare, asked } = bench();
  await refusalOf(prepare({ access: "restricted" }));
  assert.deepEqual(asked, { discovery: 0, versions: 0 });
});

Deno.test("a restricted user may delegate where the operator allows it", async () => {
  const { prepare, accepted } = bench({ allowsRestricted: true });
  await (await prepare({ access: "restricted" }))();
  assert.equal(accepted.length, 1);
});

Deno.test("a discovery that hangs is refused at the deadline", async () => {
  const { prepare } = bench({ discovery: { find: () => new Promise(() => {}) } });
  const controller = new AbortController();
  const refusal = refusalOf(prepare({}, controller.signal));
  controller.abort(new Error("late"));
  assert.deepEqual(await refusal, [400, "M_BAD_JSON", "Unable to resolve client-server API"]);
});

Deno.test("why an API cannot be found is in the details of the refusal, for the log", async () => {
  const find = () => Promise.resolve({ outcome: "not-found", steps: ["example.com: status 404"] } as const);
  const { prepare } = bench({ discovery: { find } });
  await assert.rejects(prepare(), (error) => {
    assert.ok(error instanceof MatrixError);
    assert.deepEqual(error.details.fields?.steps, ["example.com: status 404"]);
    assert.match(String(error.details.fields?.advice), /LIVEKIT_CS_API_URL_OVERRIDES/);
    return true;
  });
});

const SUPPORT: readonly (readonly [supports: boolean | null, warnings: number, askedAnHourOn: number])[] = [
  [true, 0, 1],
  [false, 1, 1],
  [null, 0, 59],
];
for (const [supports, warnings, askedAnHourOn] of SUPPORT) {
  Deno.test(`a homeserver whose /versions say ${supports} is accepted, with ${warnings} warnings`, async () => {
    const { prepare, accepted, asked, log, clock } = bench({ supports });
    for (let minute = 0; minute < 59; minute++) {
      await (await prepare())();
      await settle();
      clock.advance(60_000);
    }
    assert.equal(accepted.length, 59);
    assert.equal(asked.versions, askedAnHourOn);
    assert.equal(log.of("warning").length, warnings);
    if (warnings > 0) assert.match(log.text, /max_event_delay_duration/);
  });
}
