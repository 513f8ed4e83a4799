import { randomBytes } from "node:crypto";
import type { Context, ResourceType } from "../protocol/provider";
import { flag, isObject, object, Props, text } from "../protocol/values";
import { connectionDefaults, readConnection } from "./connection";

/** command:remote:Command as the official 1.2.1 behaves, its unhelpful corners included. */
export const remoteCommand: ResourceType = {
  inputs: [
    ...["connection", "create", "update", "delete", "stdin"],
    ...["environment", "triggers", "logging", "addPreviousOutputInEnv"],
  ],
  required: ["connection"],
  replaceOn: ["triggers"],
  computed: ["stdout", "stderr"],
  volatile: true,

  defaults: (inputs) => ({
    addPreviousOutputInEnv: true,
    ...inputs,
    ...(isObject(inputs.connection) ? { connection: connectionDefaults(inputs.connection) } : {}),
  }),

  async create(inputs, context) {
    const id = context.name + randomBytes(4).toString("hex");
    return { id, state: await execute(text(inputs.create), inputs, {}, context) };
  },

  // The outputs of the last run go along, for PULUMI_COMMAND_STDOUT, and stay if there is nothing to run.
  update: async (_id, state, inputs, context) =>
    execute(text(inputs.update) ?? text(inputs.create), inputs, state, context),

  async delete(_id, state, context) {
    await execute(text(state.delete), state, state, context);
  },
};

/** Runs a command, if there is one, and gives the state after it. */
async function execute(command: string | undefined, inputs: Props, previous: Props, context: Context): Promise<Props> {
  const [stdout, stderr] = [text(previous.stdout) ?? "", text(previous.stderr) ?? ""];
  if (command === undefined) return { ...inputs, stdout, stderr };
  // Loaded only now: a preview starts this plugin too, and never gets here.
  const { run } = await import("./run");
  const remember = flag(inputs.addPreviousOutputInEnv) ?? true;
  const output = await run(
    {
      connection: readConnection(object(inputs.connection)),
      command,
      stdin: text(inputs.stdin) ?? "",
      environment: strings(object(inputs.environment)),
      optionalEnvironment: remember ? { PULUMI_COMMAND_STDOUT: stdout, PULUMI_COMMAND_STDERR: stderr } : {},
      logs: logged(text(inputs.logging)),
    },
    context,
  );
  return { ...inputs, ...output };
}

function logged(logging: string | undefined): { stdout: boolean; stderr: boolean } {
  const both = logging === undefined || logging === "stdoutAndStderr";
  return { stdout: both || logging === "stdout", stderr: both || logging === "stderr" };
}

const strings = (props: Props): Record<string, string> =>
  Object.fromEntries(
    Object.entries(props).map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]),
  );
