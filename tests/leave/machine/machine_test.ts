// Every row of the machine's table: each state with each event.

import assert from "node:assert/strict";
import {
  aborted,
  ABSENT,
  answered,
  CONNECTED,
  done,
  DUE,
  HOUR,
  joined,
  late,
  LEAVING,
  left,
  NOW,
  present,
  type Row,
  testRows,
  UNKNOWN,
  WAITING,
} from "./machine_table.ts";

// The event is the session's only one.
const SETTLED = { ...CONNECTED, delegatedAt: NOW - 60_000 };
const TOLD_GONE = { hint: "left", sessions: {}, failures: { checks: 2, calls: 0 } } as const;

const ROWS: readonly Row[] = [
  // Waiting
  ["waiting, joined: connected, restarted at once", WAITING, joined("PA_1"), {
    effects: ["restart"],
    state: "connected",
    sessions: { hash: "PA_1" },
  }],
  ["waiting, joined by the other identity: connected", WAITING, joined("PA_1", "@u:s:D"), {
    effects: ["restart"],
    state: "connected",
    sessions: { "@u:s:D": "PA_1" },
  }],
  ["waiting, found: connected, restarted at once", WAITING, present("PA_1"), {
    effects: ["restart"],
    state: "connected",
    sessions: { hash: "PA_1" },
  }],
  ["waiting, left (the join was missed): checked", WAITING, left("PA_1", "CLIENT_INITIATED"), {
    effects: ["check"],
    state: "waiting",
    hint: "left",
  }],
  ["waiting, left, absent: leaving", { ...WAITING, hint: "left" }, ABSENT, { effects: ["send"], state: "leaving" }],
  ["waiting, left, unknown: checked again soon", { ...WAITING, hint: "left" }, UNKNOWN, {
    effects: [],
    state: "waiting",
    checkAt: NOW + 300,
  }],
  ["waiting, reconnect: checked, nothing believed", WAITING, left("PA_1", "DUPLICATE_IDENTITY"), {
    effects: ["check"],
    hint: "none",
  }],
  ["waiting, migration: checked, nothing believed", WAITING, left("PA_1", "MIGRATION"), {
    effects: ["check"],
    hint: "none",
  }],
  [
    "waiting an hour, aborted by the client: a minute for the next attempt",
    {
      ...WAITING,
      delayMs: HOUR,
      waitUntil: NOW + HOUR,
    },
    aborted("PA_1", "CLIENT_INITIATED"),
    { effects: ["check"], hint: "aborted", waitUntil: NOW + 60_000 },
  ],
  ["waiting, aborted by the client, absent: checked again", { ...WAITING, hint: "aborted" }, ABSENT, {
    effects: [],
    state: "waiting",
    checkAt: NOW + 1000,
  }],
  [
    "aborted by the client, waited long enough, absent: over, no send",
    {
      ...WAITING,
      hint: "aborted",
      waitUntil: NOW,
    },
    ABSENT,
    { end: "aborted" },
  ],
  [
    "aborted by the client, then otherwise: the last attempt counts",
    { ...WAITING, hint: "aborted" },
    aborted(
      "PA_2",
      "JOIN_FAILURE",
    ),
    { effects: ["check"], hint: "none" },
  ],
  [
    "waiting, aborted by the client before it delegated: nothing believed",
    WAITING,
    aborted(
      "PA_0",
      "CLIENT_INITIATED",
      NOW - 5000,
    ),
    { effects: ["check"], hint: "none" },
  ],
  [
    "waiting, joined before it delegated, if the SFU's clock is right: connected",
    WAITING,
    joined("PA_0", "hash", NOW - 7000),
    {
      effects: ["restart"],
      state: "connected",
      sessions: { hash: "PA_0" },
      connectedAt: NOW - 7000,
    },
  ],
  ["waiting, joined long before it delegated: checked", WAITING, joined("PA_0", "hash", NOW - 7001), {
    effects: ["check"],
    state: "waiting",
  }],
  [
    "waiting five minutes, left before it delegated: a minute for the next session",
    {
      ...WAITING,
      delayMs: HOUR,
      waitUntil: NOW + 300_000,
    },
    left("PA_0", "CLIENT_INITIATED", "hash", NOW - 5000),
    {
      effects: ["check"],
      state: "waiting",
      hint: "none",
      waitUntil: NOW + 60_000,
    },
  ],
  [
    "waiting, timed out 19 s after it delegated: the session before",
    {
      ...WAITING,
      timerStartedAt: NOW - 19_000,
      delegatedAt: NOW - 19_000,
    },
    left("PA_0", "CONNECTION_TIMEOUT"),
    { effects: ["check"], state: "waiting", hint: "none" },
  ],
  [
    "waiting, timed out 21 s after it delegated: a leave to be confirmed",
    {
      ...WAITING,
      timerStartedAt: NOW - 21_000,
      delegatedAt: NOW - 21_000,
    },
    left("PA_0", "CONNECTION_TIMEOUT"),
    {
      effects: ["check"],
      hint: "left",
      departure: { reason: "time-out", at: NOW },
    },
  ],
  ["waiting, interrupted: checked, nothing believed", WAITING, left("PA_1", "STATE_MISMATCH"), {
    effects: ["check"],
    hint: "none",
  }],
  ["waiting, aborted by the client, but found: connected", { ...WAITING, hint: "aborted" }, present("PA_2"), {
    effects: ["restart"],
    state: "connected",
    hint: "none",
  }],
  [
    "waiting, left, then aborted by the client: the leave stands",
    { ...WAITING, hint: "left" },
    aborted("PA_2", "CLIENT_INITIATED"),
    {
      effects: ["check"],
      hint: "left",
    },
  ],
  [
    "waiting an hour, aborted otherwise: 60 s more",
    { ...WAITING, delayMs: HOUR, waitUntil: NOW + HOUR },
    aborted("PA_1", "SIGNAL_CLOSE"),
    {
      effects: ["check"],
      hint: "none",
      waitUntil: NOW + 60_000,
    },
  ],
  ["waiting 9 s, aborted otherwise: no longer than that", WAITING, aborted("PA_1", "JOIN_FAILURE"), {
    effects: ["check"],
    waitUntil: NOW + 9000,
  }],
  ["waiting, absent: checked again with back-off", { ...WAITING, failures: { checks: 3, calls: 0 } }, ABSENT, {
    effects: [],
    state: "waiting",
    checkAt: NOW + 3375,
    failures: { checks: 4, calls: 0 },
  }],
  [
    "waiting, absent: checked again at the end of the wait at the latest",
    {
      ...WAITING,
      failures: { checks: 20, calls: 0 },
    },
    ABSENT,
    { effects: [], checkAt: NOW + 9000 },
  ],
  ["waited long enough, absent: leaving", { ...WAITING, waitUntil: NOW }, ABSENT, {
    effects: ["send"],
    state: "leaving",
    departure: { reason: "never connected", at: NOW },
  }],
  ["waited long enough, unknown: checked again", { ...WAITING, waitUntil: NOW }, UNKNOWN, {
    effects: [],
    state: "waiting",
    checkAt: NOW + 1000,
  }],
  ["waiting, unknown until an hour past the deadline: given up", { ...WAITING, ...late }, UNKNOWN, { end: "expired" }],
  ["waiting, due: checked", { ...WAITING, checkAt: NOW }, DUE, { effects: ["check"], checkAt: Infinity }],
  ["waiting, a late answer: nothing", WAITING, answered("restart", done), { effects: [], state: "waiting" }],

  // Connected
  [
    "connected, joined again: the new session is tracked",
    { ...CONNECTED, hint: "left", absentSince: NOW - 5 },
    joined("PA_2"),
    {
      effects: [],
      sessions: { hash: "PA_2" },
      hint: "none",
      absentSince: null,
      callAt: NOW + 7000,
    },
  ],
  [
    "connected, left, joined before the delegation: the leave stands for nothing by itself",
    { ...CONNECTED, hint: "left", sessions: {} },
    joined("PA_2", "hash", NOW - 7001),
    { effects: ["check"], state: "connected", hint: "none", sessions: {} },
  ],
  [
    "connected, left a moment after the delegation, three times unknown: it may have been the session before",
    { ...CONNECTED, ...TOLD_GONE, departure: { reason: "hang-up", at: NOW - 1 } },
    UNKNOWN,
    { effects: [], state: "connected" },
  ],
  [
    "connected, left a moment after the delegation, known since, three times unknown: leaving",
    { ...CONNECTED, ...TOLD_GONE, connectedAt: NOW - 500, departure: { reason: "hang-up", at: NOW - 1 } },
    UNKNOWN,
    { effects: ["send"], state: "leaving" },
  ],
  [
    "connected, left long after the delegation, three times unknown: leaving",
    { ...SETTLED, ...TOLD_GONE, departure: { reason: "hang-up", at: NOW - 1 } },
    UNKNOWN,
    { effects: ["send"], state: "leaving" },
  ],
  ["connected, found by a check that was long on its way: in a session from when it was asked", CONNECTED, {
    type: "present",
    sessions: { hash: "PA_2" },
    askedAt: NOW - 2000,
  }, { effects: [], sessions: { hash: "PA_2" }, connectedAt: NOW - 2000 }],
  ["connected, the tracked session left: checked", SETTLED, left("PA_1", "CLIENT_INITIATED"), {
    effects: ["check"],
    state: "connected",
    hint: "left",
    sessions: {},
  }],
  [
    "connected, the tracked session timed out: checked",
    { ...CONNECTED, delegatedAt: NOW - 21_000, timerStartedAt: NOW - 5000 },
    left("PA_1", "CONNECTION_TIMEOUT"),
    {
      effects: ["check"],
      hint: "left",
      departure: { reason: "time-out", at: NOW },
    },
  ],
  [
    "connected, the tracked session timed out 19 s after the delegation: it had died before",
    {
      ...CONNECTED,
      delayMs: HOUR,
      delegatedAt: NOW - 19_000,
      timerStartedAt: NOW - 5000,
    },
    left("PA_1", "CONNECTION_TIMEOUT"),
    {
      effects: ["check"],
      state: "waiting",
      hint: "none",
      sessions: {},
      connectedAt: null,
      waitUntil: NOW + 60_000,
    },
  ],
  [
    "connected, the tracked session left before the delegation: the next one is waited for",
    CONNECTED,
    left(
      "PA_1",
      "CLIENT_INITIATED",
      "hash",
      NOW - 5000,
    ),
    { effects: ["check"], state: "waiting", hint: "none" },
  ],
  [
    "connected by both identities, one left before the delegation: connected",
    {
      ...CONNECTED,
      sessions: { hash: "PA_1", "@u:s:D": "PA_2" },
    },
    left("PA_1", "CLIENT_INITIATED", "hash", NOW - 5000),
    {
      effects: ["check"],
      state: "connected",
      sessions: { "@u:s:D": "PA_2" },
    },
  ],
  ["connected, full reconnect: the session is forgotten, nothing believed", CONNECTED, left("PA_1", "STATE_MISMATCH"), {
    effects: ["check"],
    state: "connected",
    sessions: {},
    hint: "none",
  }],
  ["connected, the SFU ends: the session is forgotten, nothing believed", CONNECTED, left("PA_1", "SERVER_SHUTDOWN"), {
    effects: ["check"],
    state: "connected",
    sessions: {},
    hint: "none",
  }],
  ["interrupted, absent in an old room: the absence has to last", { ...CONNECTED, sessions: {} }, {
    type: "absent",
    roomSince: NOW - HOUR,
  }, { effects: [], state: "connected", absentSince: NOW }],
  ["connected, absent from a room older than the session: checked again when a reconnect would be over", SETTLED, {
    type: "absent",
    roomSince: NOW - HOUR,
  }, { effects: [], state: "connected", absentSince: NOW, checkAt: NOW + 1000 }],
  [
    "connected, absent from a room older than the session for a second: leaving",
    {
      ...SETTLED,
      absentSince: NOW - 1000,
    },
    { type: "absent", roomSince: NOW - HOUR },
    {
      effects: ["send"],
      state: "leaving",
      departure: { reason: "absence", at: NOW - 1000 },
    },
  ],
  [
    "delegated anew a moment ago, absent from an old room: about to connect, for all that is known",
    {
      ...CONNECTED,
      absentSince: NOW - 1000,
    },
    { type: "absent", roomSince: NOW - HOUR },
    { effects: [], state: "connected", checkAt: NOW + 20_000 },
  ],
  ["connected, absent from a room younger than the session: the absence has to last", CONNECTED, {
    type: "absent",
    roomSince: NOW - 899_999,
  }, { effects: [], state: "connected", absentSince: NOW }],
  [
    "connected since nobody knows when, absent from an old room: the absence has to last",
    {
      ...CONNECTED,
      connectedAt: -Infinity,
    },
    { type: "absent", roomSince: -HOUR },
    { effects: [], state: "connected", absentSince: NOW },
  ],
  [
    "connected, seen before the webhook of the attempt that is aborted: a minute for the next one",
    {
      ...CONNECTED,
      delayMs: HOUR,
    },
    aborted("PA_1", "CLIENT_INITIATED"),
    {
      effects: ["check"],
      state: "waiting",
      hint: "aborted",
      waitUntil: NOW + 60_000,
    },
  ],
  [
    "connected, nothing heard of the SFU for three hours, restart due: checked instead",
    {
      ...CONNECTED,
      callAt: NOW,
      heardAt: NOW - 3 * HOUR,
    },
    DUE,
    { effects: ["check"], callAt: NOW + 60_000 },
  ],
  ["connected, unknown, an hour past the deadline: given up", { ...CONNECTED, ...late }, UNKNOWN, { end: "expired" }],
  ["connected, another session left: checked, nothing believed", CONNECTED, left("PA_0", "CLIENT_INITIATED"), {
    effects: ["check"],
    hint: "none",
    sessions: { hash: "PA_1" },
  }],
  ["connected, the other identity left: both are checked", CONNECTED, left("PA_9", "CLIENT_INITIATED", "@u:s:D"), {
    effects: ["check"],
    hint: "none",
    sessions: { hash: "PA_1" },
  }],
  ["connected, reconnect: checked, nothing believed", CONNECTED, left("PA_1", "DUPLICATE_IDENTITY"), {
    effects: ["check"],
    hint: "none",
    sessions: { hash: "PA_1" },
  }],
  ["connected, migration: checked, nothing believed", CONNECTED, left("PA_1", "MIGRATION"), {
    effects: ["check"],
    hint: "none",
  }],
  ["connected, another attempt aborted: checked, nothing believed", CONNECTED, aborted("PA_2", "CLIENT_INITIATED"), {
    effects: ["check"],
    hint: "none",
  }],
  [
    "connected, left, found in another session: still connected",
    { ...CONNECTED, sessions: {}, hint: "left" },
    present("PA_2"),
    {
      effects: [],
      state: "connected",
      hint: "none",
      sessions: { hash: "PA_2" },
    },
  ],
  ["connected, left, absent: leaving", { ...CONNECTED, sessions: {}, hint: "left" }, ABSENT, {
    effects: ["send"],
    state: "leaving",
  }],
  ["connected, left, unknown once: checked again soon", { ...CONNECTED, sessions: {}, hint: "left" }, UNKNOWN, {
    effects: [],
    state: "connected",
    checkAt: NOW + 300,
  }],
  [
    "connected by both identities, one left, unknown: never enough",
    {
      ...CONNECTED,
      sessions: { "@u:s:D": "PA_2" },
      hint: "left",
      failures: { checks: 9, calls: 0 },
    },
    UNKNOWN,
    { effects: [], state: "connected" },
  ],
  ["connected, away, unknown: the absence begins anew", { ...CONNECTED, absentSince: NOW - 50_000 }, UNKNOWN, {
    effects: [],
    state: "connected",
    absentSince: null,
  }],
  ["connected, unknown without a webhook: never enough", { ...CONNECTED, failures: { checks: 9, calls: 0 } }, UNKNOWN, {
    effects: [],
    state: "connected",
  }],
  ["connected, absent for the first time: checked again, restarts go on", CONNECTED, ABSENT, {
    effects: [],
    state: "connected",
    absentSince: NOW,
    checkAt: NOW + 20_000,
    callAt: NOW + 7000,
  }],
  ["connected, absent for 59.999 s: not yet", { ...CONNECTED, absentSince: NOW - 59_999 }, ABSENT, {
    effects: [],
    state: "connected",
    checkAt: NOW + 1,
  }],
  ["connected, absent for 60 s: leaving", { ...CONNECTED, absentSince: NOW - 60_000 }, ABSENT, {
    effects: ["send"],
    state: "leaving",
    hint: "none",
  }],
  [
    "connected, absent, then found: as if nothing had been",
    { ...CONNECTED, absentSince: NOW - 59_000 },
    present("PA_2"),
    {
      effects: [],
      absentSince: null,
      checkAt: Infinity,
    },
  ],
  ["connected, restart due: restarted", { ...CONNECTED, callAt: NOW }, DUE, { effects: ["restart"], callAt: Infinity }],
  [
    "connected, deadline long over (late timer): restarted once more",
    { ...CONNECTED, ...late, callAt: NOW - HOUR },
    DUE,
    {
      effects: ["restart"],
    },
  ],
  ["connected, check due: checked", { ...CONNECTED, checkAt: NOW }, DUE, { effects: ["check"], checkAt: Infinity }],

  // Leaving
  ["leaving, joined: connected again", LEAVING, joined("PA_2"), {
    effects: ["restart"],
    state: "connected",
    hint: "none",
  }],
  ["leaving, found: connected again", LEAVING, present("PA_2"), { effects: ["restart"], state: "connected" }],
  ["leaving, absent: sent", LEAVING, ABSENT, { effects: ["send"], state: "leaving" }],
  ["leaving after a webhook, unknown: sent", LEAVING, UNKNOWN, { effects: ["send"] }],
  ["leaving without a webhook, unknown: checked again", { ...LEAVING, hint: "none" }, UNKNOWN, {
    effects: [],
    checkAt: NOW + 1000,
  }],
  [
    "leaving without ever having connected, unknown ten minutes later: given up",
    {
      ...LEAVING,
      delayMs: 24 * HOUR,
      hint: "none",
      connectedAt: null,
      waitUntil: NOW - 600_000,
    },
    UNKNOWN,
    { end: "expired" },
  ],
  ["leaving, unknown, an hour past the deadline: given up", { ...LEAVING, ...late }, UNKNOWN, { end: "expired" }],
  ["leaving, left once more: checked", LEAVING, left("PA_1", "CLIENT_INITIATED"), { effects: ["check"] }],
  ["leaving, an attempt aborted: checked", LEAVING, aborted("PA_1", "SIGNAL_CLOSE"), { effects: ["check"] }],
  ["leaving, due: checked before the next send", { ...LEAVING, callAt: NOW }, DUE, {
    effects: ["check"],
    callAt: Infinity,
  }],
  ["leaving, a late answer: nothing ends by it", LEAVING, answered("restart", done), { effects: [], state: "leaving" }],
  ["connected, an answer: the next restart is set", CONNECTED, answered("restart", done), {
    effects: [],
    state: "connected",
  }],
];

testRows(ROWS);

Deno.test("every state has a row for every event", () => {
  const cells = new Set(ROWS.map(([, job, event]) => `${job.state} ${event.type}`));
  const types = ["joined", "left", "aborted", "present", "absent", "unknown", "answered", "due"];
  const missing = ["waiting", "connected", "leaving"].flatMap((state) => types.map((type) => `${state} ${type}`))
    .filter((cell) => !cells.has(cell));
  assert.deepEqual(missing, []);
});
