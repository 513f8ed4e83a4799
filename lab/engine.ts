/** The Pulumi engine: the one on the PATH if it is recent enough, else one built from its Go module, once. */
import { attempt, installed } from "./command";
import { GoProgram } from "./goProgram";
import { cache } from "./places";

/** The version that is built, and the oldest that is taken from the PATH. */
export const engineVersion = "3.259.0";

export interface Engine {
  /** Installation directory, the program is `bin/pulumi` below; `undefined` for the one on the PATH. */
  readonly root: string | undefined;
  /** The program. */
  readonly program: string;
  /** Where it came from, in words. */
  readonly origin: string;
}

const goModule = "github.com/pulumi/pulumi";

const built = new GoProgram({
  name: "pulumi",
  directory: "engine",
  package: `${goModule}/pkg/v3/cmd/pulumi`,
  version: engineVersion,
  options: [
    ...["-tags", "osusergo,grpcnotrace"],
    ...["-ldflags", `-s -w -X ${goModule}/sdk/v3/go/common/version.Version=v${engineVersion}`],
  ],
});

async function onPath(): Promise<Engine | undefined> {
  const { stdout: found, code } = await attempt(["sh", "-c", "command -v pulumi"]);
  // In the lab's own shell the cached one is on the PATH, too.
  if (code !== 0 || found.startsWith(cache)) return undefined;
  const env = { ...process.env, PULUMI_SKIP_UPDATE_CHECK: "1" };
  const version = (await attempt(["pulumi", "version"], { env })).stdout.trim().replace(/^v/, "");
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = engineVersion.split(".").map(Number);
  if (major !== wantedMajor || minor < wantedMinor) return undefined;
  return { root: undefined, program: "pulumi", origin: `${version}, on the PATH` };
}

/** Whether {@link engine} answers at once. */
export async function engineIsReady(): Promise<boolean> {
  return (await onPath()) !== undefined || built.isBuilt;
}

/**
 * The engine, built if need be (5 minutes on two cores, needs Go).
 * @param log file for what go says
 */
export async function engine(log?: string): Promise<Engine> {
  const found = await onPath();
  if (found !== undefined) return found;
  if (!built.isBuilt && !(await installed("go"))) {
    throw new Error(
      `No pulumi ${engineVersion} or newer is on the PATH, and without Go none can be built. Install either one: ` +
        "https://www.pulumi.com/docs/install/ or https://go.dev/dl/.",
    );
  }
  await built.build(log);
  return {
    root: built.root,
    program: built.program,
    origin: `${engineVersion}, built from its Go module`,
  };
}
