// Schemathesis from PyPI: makes requests out of an OpenAPI description, good and bad ones, and holds the answers against
// it.

import * as v from "valibot";
import { runToEnd } from "../../../testing/child_process.ts";
import { ensureInstalled } from "../../../testing/installation.ts";
import { pythonOf, pythonTool } from "../../../testing/python_tool.ts";

const SCHEMATHESIS = pythonTool({
  name: "schemathesis",
  version: "4.32.5",
  effort: "pip install, less than 1 minute",
  describe: "import importlib.metadata as m, schemathesis.cli; print('Schemathesis', m.version('schemathesis'))",
});

/** How a run is bounded. */
export interface RunOptions {
  /** Base URL of the service. */
  readonly url: string;
  /** File with the description. */
  readonly description: string;
  /** Requests that are made up at random, per operation. */
  readonly maxExamples: number;
  readonly seed: number;
  /** An empty folder for its report and its own files. */
  readonly folder: string;
}

/** The installed tool. */
export class Schemathesis {
  readonly #python: string;

  private constructor(python: string) {
    this.#python = python;
  }

  /** Installs it on first use. */
  static async open(): Promise<Schemathesis> {
    return new Schemathesis(pythonOf(await ensureInstalled(SCHEMATHESIS)));
  }

  /** Reads a YAML file as the tool does. */
  async readYaml(path: string): Promise<unknown> {
    const script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1], encoding='utf-8'))))";
    return JSON.parse(await runToEnd(this.#python, ["-c", script, path]));
  }

  /**
   * Runs it against a service.
   *
   * @returns How often each operation gave each status, such as `POST /sfu/get 401`.
   * @throws An Error with its report when an answer is 5xx, or is not what the description says.
   */
  async run({ url, description, maxExamples, seed, folder }: RunOptions): Promise<Map<string, number>> {
    const report = `${folder}/report.ndjson`;
    await runToEnd(this.#python, [
      ...["-m", "schemathesis.cli", "run", description, `--url=${url}`],
      `--checks=${CHECKS.join(",")}`,
      "--phases=examples,coverage,fuzzing",
      `--max-examples=${maxExamples}`,
      `--seed=${seed}`,
      "--continue-on-failure",
      "--no-color",
      "--warnings=off",
      "--request-timeout=15",
      "--suppress-health-check=all",
      `--report-ndjson-path=${report}`,
    ], { cwd: folder });
    return countAnswers(await Deno.readTextFile(report));
  }
}

const CHECKS = [
  "not_a_server_error",
  "status_code_conformance",
  "content_type_conformance",
  "response_headers_conformance",
  "response_schema_conformance",
];

const Scenario = v.object({
  ScenarioFinished: v.object({
    recorder: v.object({
      label: v.string(),
      interactions: v.record(v.string(), v.object({ response: v.object({ status_code: v.number() }) })),
    }),
  }),
});

function countAnswers(report: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of report.trim().split("\n")) {
    const scenario = v.safeParse(Scenario, JSON.parse(line));
    if (!scenario.success) continue; // another kind of event
    const { label, interactions } = scenario.output.ScenarioFinished.recorder;
    for (const { response } of Object.values(interactions)) {
      const answer = `${label} ${response.status_code}`;
      counts.set(answer, (counts.get(answer) ?? 0) + 1);
    }
  }
  return counts;
}
