/** A stack of this package, deployed by the real engine: its own index.ts, run as an inline program. */
import * as fs from "node:fs";
import * as path from "node:path";
import {
  LocalWorkspace,
  PulumiCommand,
  Stack,
  type EngineEvent,
  type OpMap,
  type OutputMap,
  type PulumiFn,
} from "@pulumi/pulumi/automation";
import { attempt, CommandError, type Result } from "./command";
import { engine, type Engine } from "./engine";
import { separateConnections } from "./inlinePrograms";
import type { Network } from "./network";
import { repository } from "./places";
import { languageHostPath, linkPlugins } from "./plugins";
import type { S3 } from "./s3";
import { secretSettings, type Settings } from "./settings";
import { StackConfig } from "./stackConfig";

/** One resource the engine looked at in an operation. */
export interface Step {
  /** What was done or would be done: same, create, update, delete, replace … */
  readonly op: string;
  readonly type: string;
  readonly name: string;
  readonly urn: string;
  /** Names of the properties that differ. */
  readonly diffs: readonly string[];
}

export interface Diagnostic {
  /** info, warning or error. */
  readonly severity: string;
  readonly message: string;
  /** The resource it is about, if any. */
  readonly urn: string | undefined;
}

/** What an operation said and did. */
export interface Outcome {
  /** All the engine printed, standard error after standard output. */
  readonly output: string;
  /** How many resources per kind of change, e.g. `{ create: 3, same: 20 }`. */
  readonly changes: OpMap;
  readonly steps: readonly Step[];
  readonly diagnostics: readonly Diagnostic[];
}

/** The engine refused or failed; the message holds all it printed. */
export class EngineError extends Error {
  constructor(
    operation: string,
    readonly outcome: Outcome,
    cause: unknown,
  ) {
    super(`pulumi ${operation} failed:\n${outcome.output.trim() || String(cause)}`, { cause });
    this.name = "EngineError";
  }
}

export interface OperationOptions {
  /** Called with each piece of text the engine prints. */
  readonly onOutput?: (text: string) => void;
  /** Ends the engine in the middle of its work. */
  readonly signal?: AbortSignal;
  /** How many resources at a time. Default: the engine's. */
  readonly parallel?: number;
}

export interface StackOptions {
  /** Directory with Pulumi.yaml, and Pulumi.<stack>.yaml beside it. Default: one of the lab's, with a copy. */
  readonly directory?: string;
  /** Comment at the top of Pulumi.<stack>.yaml, without the number signs. */
  readonly heading?: string;
  /** The program. Default: this package's index.ts. */
  readonly program?: PulumiFn;
}

/** What a stack needs of its lab. */
export interface StackHome {
  readonly name: string;
  readonly directory: string;
  readonly network: Network;
  readonly s3: S3;
}

interface Opened {
  readonly stack: Stack;
  readonly engine: Engine;
}

export class LabStack {
  readonly directory: string;
  readonly config: StackConfig;
  private readonly program: PulumiFn;
  private opened: Promise<Opened> | undefined;

  /** Nothing happens before the first operation. @param settings written over what the stack's file has */
  constructor(
    private readonly lab: StackHome,
    readonly name: string,
    private readonly settings: Settings,
    options: StackOptions = {},
  ) {
    this.directory = options.directory ?? path.join(lab.directory, "stacks", name);
    this.config = new StackConfig(path.join(this.directory, `Pulumi.${name}.yaml`), options.heading);
    this.program = options.program ?? ownProgram;
  }

  /** Deploys. `refresh` first takes note of what the S3 server has forgotten, `continueOnError` finishes the rest. */
  up(
    options: OperationOptions & {
      readonly diff?: boolean;
      readonly refresh?: boolean;
      readonly continueOnError?: boolean;
    } = {},
  ): Promise<Outcome> {
    return this.operate("up", options, (stack, watching) => stack.up({ ...watching, ...given(options) }));
  }

  /** Shows what {@link up} would do. */
  preview(
    options: OperationOptions & { readonly diff?: boolean; readonly expectNoChanges?: boolean } = {},
  ): Promise<Outcome> {
    return this.operate("preview", options, (stack, watching) => stack.preview({ ...watching, ...given(options) }));
  }

  /** Compares the state with the providers' view. */
  refresh(options: OperationOptions & { readonly expectNoChanges?: boolean } = {}): Promise<Outcome> {
    return this.operate("refresh", options, (stack, watching) => stack.refresh({ ...watching, ...given(options) }));
  }

  /** Removes what was deployed. */
  destroy(options: OperationOptions & { readonly excludeProtected?: boolean } = {}): Promise<Outcome> {
    return this.operate("destroy", options, (stack, watching) => stack.destroy({ ...watching, ...given(options) }));
  }

  /** Ends an update that another process was in the middle of, so that the next can begin. */
  async cancel(): Promise<void> {
    await (await this.open()).stack.cancel();
  }

  /** Outputs of the last deployment, secret ones in plain text. */
  async outputs(): Promise<OutputMap> {
    return (await this.open()).stack.outputs();
  }

  /** The state as JSON text, as it is stored: secrets encrypted. */
  async exportState(): Promise<string> {
    return (await this.cli(["stack", "export"])).stdout;
  }

  /** Writes one setting; secret ones encrypted, `undefined` removes it. */
  async setConfig(name: string, value: unknown): Promise<void> {
    await this.open();
    await this.configure({ [name]: value });
  }

  /** Removes the stack with its state; what was deployed stays where it is. */
  async forget(): Promise<void> {
    await this.cli(["stack", "rm", "--force", "--yes"]);
    this.opened = undefined;
  }

  /** Runs the engine's command line on this stack, e.g. `["stack", "export"]`. Throws unless it exits with 0. */
  async cli(args: readonly string[], input?: string): Promise<Result> {
    const opened = await this.open();
    return this.pulumi(opened.engine, [...args, "--stack", this.name], input);
  }

  /**
   * Runs the engine's command line on this stack as a user does: in this package's own directory, the program run by
   * the language host. Answers whatever its exit code.
   */
  async asUser(args: readonly string[]): Promise<Result> {
    const { engine } = await this.open();
    const place = ["--stack", this.name, "--config-file", this.config.file, "--non-interactive"];
    const env = { ...process.env, ...environment(this.lab), PATH: await languageHostPath(home(this.lab)) };
    return attempt([engine.program, ...args, ...place], { cwd: repository, env });
  }

  private async pulumi(engine: Engine, args: readonly string[], input?: string): Promise<Result> {
    const argv = [engine.program, ...args, "--non-interactive"];
    const env = { ...process.env, ...environment(this.lab) };
    const result = await attempt(argv, { cwd: this.directory, env, input });
    if (result.code !== 0) throw new CommandError(argv, result);
    return result;
  }

  private open(): Promise<Opened> {
    this.opened ??= this.create();
    return this.opened;
  }

  private async create(): Promise<Opened> {
    if (!this.lab.network.here) {
      throw new Error(`The program must run inside the lab's network: npm run lab -- exec ${this.lab.name} -- COMMAND`);
    }
    const found = await engine();
    fs.mkdirSync(this.directory, { recursive: true });
    fs.mkdirSync(backend(this.lab), { recursive: true });
    if (this.directory !== repository) {
      fs.copyFileSync(path.join(repository, "Pulumi.yaml"), path.join(this.directory, "Pulumi.yaml"));
    }
    linkPlugins(home(this.lab));
    separateConnections();
    const command = await PulumiCommand.get(found.root === undefined ? {} : { root: found.root });
    const stack = await LocalWorkspace.createOrSelectStack(
      { stackName: this.name, projectName: "pgbackup", program: this.program },
      { workDir: this.directory, envVars: environment(this.lab), pulumiCommand: command },
    );
    await this.configure(this.settings, found);
    return { stack, engine: found };
  }

  private async configure(settings: Settings, opened?: Engine): Promise<void> {
    const found = opened ?? (await this.open()).engine;
    const secret = (name: string) => secretSettings.includes(name) && settings[name] !== undefined;
    for (const [name, value] of Object.entries(settings).filter(([each]) => secret(each))) {
      const place = [`pgbackup:${name}`, "--stack", this.name];
      // Encrypted anew it would be another text each time.
      if (this.config.names().includes(name)) {
        const { stdout } = await this.pulumi(found, ["config", "get", ...place]).catch(() => ({ stdout: "" }));
        if (stdout.trim() === String(value).trim()) continue;
      }
      await this.pulumi(found, ["config", "set", "--secret", ...place], String(value));
    }
    // Last: the engine writes numbers as strings whenever it touches the file.
    this.config.write(Object.fromEntries(Object.entries(settings).filter(([name]) => !secret(name))));
  }

  private async operate(
    operation: string,
    options: OperationOptions,
    run: (stack: Stack, watching: Watching) => Promise<unknown>,
  ): Promise<Outcome> {
    const { stack } = await this.open();
    const text: string[] = [];
    const errors: string[] = [];
    const steps: Step[] = [];
    const diagnostics: Diagnostic[] = [];
    let changes: OpMap = {};
    const onEvent = (event: EngineEvent): void => {
      const metadata = event.resourcePreEvent?.metadata;
      if (metadata !== undefined) {
        const { op, type, urn, diffs = [] } = metadata;
        steps.push({ op, type, urn, name: urn.split("::").at(-1) ?? urn, diffs: diffs ?? [] });
      }
      if (event.diagnosticEvent !== undefined && event.diagnosticEvent.ephemeral !== true) {
        const { severity, message, urn } = event.diagnosticEvent;
        if (!["debug", "info#err"].includes(severity))
          diagnostics.push({ severity, message: message.replace(/<\{%[^%]*%\}>/g, ""), urn });
      }
      if (event.summaryEvent !== undefined) changes = event.summaryEvent.resourceChanges;
    };
    const watching: Watching = {
      onEvent,
      onOutput: (piece) => {
        text.push(piece);
        options.onOutput?.(piece);
      },
      onError: (piece) => {
        errors.push(piece);
        options.onOutput?.(piece);
      },
    };
    const outcome = (): Outcome => ({ output: [...text, ...errors].join(""), changes, steps, diagnostics });
    try {
      await run(stack, watching);
    } catch (error) {
      throw new EngineError(operation, outcome(), error);
    }
    return outcome();
  }
}

interface Watching {
  readonly onEvent: (event: EngineEvent) => void;
  readonly onOutput: (text: string) => void;
  readonly onError: (text: string) => void;
}

/** The options without the callback, which is called by what already watches. */
function given<T extends OperationOptions>(options: T): Omit<T, "onOutput"> {
  const { onOutput: _, ...rest } = options;
  return rest;
}

/** Encrypts the secrets of the labs' stacks. No secret itself, but a word that tests can look for. */
export const passphrase = "passphrase-of-the-lab-eb6f2c1d";

/** PULUMI_HOME of a lab. */
export function home(lab: StackHome): string {
  return path.join(lab.directory, "pulumi");
}

function backend(lab: StackHome): string {
  return path.join(lab.directory, "state");
}

function s3Access(lab: StackHome): Record<string, string> {
  const { accessKeyId, secretAccessKey } = lab.s3.admin;
  const { caFile } = lab.s3;
  return {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_CA_BUNDLE: caFile,
    NODE_EXTRA_CA_CERTS: caFile,
  };
}

/** Environment of the engine and, through it, of the providers. */
export function environment(lab: StackHome): Record<string, string> {
  return {
    PULUMI_HOME: home(lab),
    PULUMI_BACKEND_URL: `file://${backend(lab)}`,
    PULUMI_CONFIG_PASSPHRASE: passphrase,
    PULUMI_SKIP_UPDATE_CHECK: "1",
    PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
    ...(lab.s3.running ? s3Access(lab) : {}),
    AWS_REGION: lab.s3.region,
    AWS_ENDPOINT_URL_IAM: lab.s3.endpoint,
    AWS_ENDPOINT_URL_STS: lab.s3.endpoint,
    AWS_ENDPOINT_URL_S3_CONTROL: lab.s3.endpoint,
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
  };
}

/** This package's program. Required only now, so that a lab can be used while it does not compile. */
async function ownProgram(): Promise<Record<string, unknown>> {
  const main = path.join(repository, "index.ts");
  const loaded = (await import(main)) as { default?: unknown };
  const program = typeof loaded === "function" ? loaded : loaded.default;
  if (typeof program !== "function") throw new Error(`${main} exports no function.`);
  return (await (program as () => unknown)()) as Record<string, unknown>;
}
