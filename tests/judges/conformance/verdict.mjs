// What the suite found, held against what is expected to fail.
//
// The suite does so itself, but leaves out the scenarios that a set of requirements does not score (tasks,
// JSON Schema, header checks, ..), lets an entry pass that was never reached, and does not say what did
// not run. The file of expected failures is the suite's, with one entry for each check that fails.

import { existsSync, readFileSync, readdirSync } from "node:fs";

import { parse } from "yaml";

const PACKAGE = "node_modules/@modelcontextprotocol/conformance";
const RESULT = /^server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$/;
const FAILED = ["FAILURE", "WARNING"];

const yaml = (path) => parse(readFileSync(path, "utf8"));

/** Gives how many checks went which way, and what is not as it should be. */
export function verdict(results, requirements, expectedPath) {
  const checks = read(results);
  const expected = new Set(yaml(expectedPath).server);
  const problems = [];
  const missing = scenarios(requirements).filter(
    (scenario) => !checks.some((check) => check.scenario === scenario),
  );
  if (missing.length) problems.push(`did not run: ${missing.join(", ")}`);
  const failed = checks.filter(({ status }) => FAILED.includes(status));
  for (const { entry, status, errorMessage } of failed) {
    if (!expected.has(entry)) problems.push(`${status} ${entry}: ${errorMessage}`);
  }
  for (const entry of expected) {
    const isMissing = missing.includes(entry.split(":")[0]);
    if (!isMissing && !failed.some((check) => check.entry === entry)) {
      problems.push(`${entry} is expected to fail and does not: take it out of ${expectedPath}`);
    }
  }
  const count = (predicate) => checks.filter(predicate).length;
  const counts = {
    "checks passed": count(({ status }) => status === "SUCCESS"),
    "failed unexpectedly": failed.filter(({ entry }) => !expected.has(entry)).length,
    "failed as expected": failed.filter(({ entry }) => expected.has(entry)).length,
    "skipped by the suite": count(({ status }) => status === "SKIPPED"),
  };
  return { counts, problems };
}

/** Every check of every scenario; what is only told (INFO) shows that its scenario ran. */
function read(results) {
  if (!existsSync(results)) return [];
  return readdirSync(results).flatMap((folder) => {
    const scenario = folder.match(RESULT)?.[1] ?? folder;
    const path = `${results}/${folder}/checks.json`;
    if (!existsSync(path)) return []; // the suite was cut off
    const checks = JSON.parse(readFileSync(path, "utf8"));
    return checks.map((check) => ({ ...check, scenario, entry: `${scenario}:${check.id}` }));
  });
}

/** What a server must be asked, whether or not it counts. */
function scenarios(requirements) {
  const { server, not_scored } = yaml(`${PACKAGE}/requirements/${requirements}.yaml`);
  const also = not_scored.filter(({ leg }) => leg === "server").map(({ scenario }) => scenario);
  return [...server, ...also];
}
