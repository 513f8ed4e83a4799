/** Named steps with elapsed time on the terminal, or as plain lines where there is none (CI). */
import * as fs from "node:fs";
import {
  Listr,
  PRESET_TIMER,
  type ListrTask,
  type ListrTaskWrapper,
  type DefaultRenderer,
  type SimpleRenderer,
} from "listr2";

type Task<C> = ListrTaskWrapper<C, typeof DefaultRenderer, typeof SimpleRenderer>;

export interface Step<C> {
  readonly title: string;
  /** Does it. What it returns is added to the title: what came out, in a few words. */
  readonly work: (context: C) => Promise<string | void>;
  /** Answers whether it was done before; it is then shown as such and not done again. */
  readonly done?: () => Promise<boolean> | boolean;
  /** File the work writes to: its last line is shown meanwhile, its name when the work fails. */
  readonly log?: string;
  /** What to do when it fails, one sentence. */
  readonly advice: string;
}

/** A step failed: says which, why, and what to do. */
export class StepError extends Error {
  constructor({ title, advice, log }: Pick<Step<never>, "title" | "advice" | "log">, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const file = log !== undefined && fs.existsSync(log) ? `\n\nWhole log: ${log}` : "";
    super(`Failed: ${title}\n\n${why.trim()}\n\nWhat to do: ${advice}${file}`, { cause });
    this.name = "StepError";
  }
}

function seconds(since: number): string {
  const all = Math.round((Date.now() - since) / 1000);
  return all < 60 ? `${all} s` : `${Math.floor(all / 60)} min ${all % 60} s`;
}

/** The last line of a file that has letters in it, cut to a terminal's width; empty if there is none. */
function lastLine(file: string | undefined): string {
  if (file === undefined || !fs.existsSync(file)) return "";
  const handle = fs.openSync(file, "r");
  try {
    const { size } = fs.fstatSync(handle);
    const buffer = Buffer.alloc(Math.min(size, 2_000));
    fs.readSync(handle, buffer, 0, buffer.length, size - buffer.length);
    const lines = buffer.toString("utf8").split(/[\r\n]+/);
    return (
      lines
        .filter((line) => /[a-z]/i.test(line))
        .at(-1)
        ?.trim()
        .slice(0, 90) ?? ""
    );
  } finally {
    fs.closeSync(handle);
  }
}

function task<C>(step: Step<C>, failures: StepError[]): ListrTask<C, typeof DefaultRenderer, typeof SimpleRenderer> {
  return {
    title: step.title,
    task: async (context: C, wrapper: Task<C>) => {
      if ((await step.done?.()) === true) {
        wrapper.title = `${step.title}: is there`;
        return;
      }
      const started = Date.now();
      const tell = () => {
        const line = lastLine(step.log);
        wrapper.output = `${seconds(started)}${line === "" ? "" : ` · ${line}`}`;
      };
      const clock = setInterval(tell, process.stdout.isTTY ? 1_000 : 30_000);
      try {
        const said = await step.work(context);
        if (typeof said === "string") wrapper.title = `${step.title}: ${said}`;
      } catch (error) {
        // The renderer shows the message beside the title, the caller shows it in full: a line here is enough.
        failures.push(error instanceof StepError ? error : new StepError(step, error));
        throw new Error("failed, see below", { cause: error });
      } finally {
        clearInterval(clock);
      }
    },
  };
}

/**
 * Does the steps one after another; those in an inner list side by side.
 * @throws StepError of the first that fails
 */
export async function doSteps<C>(context: C, steps: readonly (Step<C> | readonly Step<C>[])[]): Promise<void> {
  const isList = (each: Step<C> | readonly Step<C>[]): each is readonly Step<C>[] => Array.isArray(each);
  const failures: StepError[] = [];
  const list = new Listr<C, "default", "simple">(
    steps.map((each) => {
      if (!isList(each)) return task(each, failures);
      return {
        title: each.map(({ title }) => title).join(", "),
        task: (_context: C, wrapper: Task<C>) =>
          wrapper.newListr(
            each.map((inner) => task(inner, failures)),
            { concurrent: true, exitOnError: true },
          ),
      };
    }),
    {
      renderer: "default",
      fallbackRenderer: "simple",
      rendererOptions: { timer: PRESET_TIMER, collapseSubtasks: false, showErrorMessage: false, collapseErrors: true },
      fallbackRendererOptions: { timer: PRESET_TIMER },
      collectErrors: "minimal",
    },
  );
  try {
    await list.run(context);
  } catch (error) {
    throw failures[0] ?? error;
  }
}
