import * as pulumi from "@pulumi/pulumi";
import { PATH, PATH_RIGHT } from "./settingChecks";
import { matches, type SettingsReader } from "./settingsReader";

/** Who is told what came of a container's nights and drills, and how. Nobody where nothing is set. */
export interface OutcomeSettings {
  /** Program in the container with its arguments, as typed in bash. */
  readonly command?: string;
  /** Mail address. */
  readonly mail?: string;
  /** URL that JSON is posted to. */
  readonly webhook?: pulumi.Output<string>;
  /** URL of a check that misses the container. */
  readonly pingUrl?: pulumi.Output<string>;
  /** Directory of node_exporter's textfile collector. */
  readonly metricsDirectory?: string;
}

/** A URL that bash and curl take as it stands. */
const URL = matches(
  /^https?:\/\/[A-Za-z0-9._:@-]+(\/[A-Za-z0-9._~%:@!$&+,;=/-]*)?(\?[A-Za-z0-9._~%:@!$&+,;=/?-]*)?$/,
  "an http or https URL without quotes and #",
);

/** Reads whom a container's nights and drills are told to. */
export function readOutcome(reader: SettingsReader): OutcomeSettings {
  const webhook = reader.optionalSecret("notifyWebhook", URL);
  // A check misses one container: two that ping the same would hide each other's silence.
  const pingUrl = reader.own("pingUrl").optionalSecret("pingUrl", URL);
  return {
    command: reader.optionalText(
      "notifyCommand",
      /^(\/[A-Za-z0-9._-]+)+( \P{C}*)?$/u,
      "the absolute path of a program in the container, with its arguments",
    ),
    mail: reader.optionalText(
      "notifyMail",
      /^[A-Za-z0-9_][A-Za-z0-9._%+-]*(@[A-Za-z0-9.-]+)?$/,
      "one mail address, e.g. ops@example.org",
    ),
    webhook: webhook === undefined ? undefined : pulumi.secret(webhook),
    pingUrl: pingUrl === undefined ? undefined : pulumi.secret(pingUrl),
    metricsDirectory: reader.optionalText("metricsDirectory", PATH, PATH_RIGHT),
  };
}

/** Whether there is anything to do once a run has ended. */
export function isTold({ command, mail, webhook, pingUrl, metricsDirectory }: OutcomeSettings): boolean {
  return [command, mail, webhook, pingUrl, metricsDirectory].some((setting) => setting !== undefined);
}

/** Programs the channels need in the container that are the user's to choose and install. */
export function programsOf({ command, mail }: OutcomeSettings): string[] {
  const program = command?.split(" ", 1);
  return [...(program ?? []), ...(mail === undefined ? [] : ["sendmail"])];
}
