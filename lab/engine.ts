/** The Pulumi engine: the one on the PATH if it is recent enough, else one built from its Go module, once. */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { attempt, installed, run } from "./command";
import { outside } from "./network";
import { cache, source } from "./places";
import { locked } from "./waiting";

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

function directory(): string {
  const hash = createHash("sha256");
  for (const file of ["go.mod", "go.sum", "tools.go"]) hash.update(fs.readFileSync(source("engine", file)));
  return path.join(cache, `engine-${engineVersion}-${hash.digest("hex").slice(0, 12)}`);
}

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
  return (await onPath()) !== undefined || fs.existsSync(path.join(directory(), "bin", "pulumi"));
}

/**
 * The engine, built if need be (5 minutes on two cores, needs Go).
 * @param log file for what go says
 */
export async function engine(log?: string): Promise<Engine> {
  const found = await onPath();
  if (found !== undefined) return found;
  const root = directory();
  const program = path.join(root, "bin", "pulumi");
  const built = { root, program, origin: `${engineVersion}, built from its Go module` };
  if (fs.existsSync(program)) return built;
  return locked(`${root}.lock`, async () => {
    if (!fs.existsSync(program)) await build(program, log);
    return built;
  });
}

async function build(program: string, log?: string): Promise<void> {
  if (!(await installed("go"))) {
    throw new Error(
      `No pulumi ${engineVersion} or newer is on the PATH, and without Go none can be built. Install either one: ` +
        "https://www.pulumi.com/docs/install/ or https://go.dev/dl/.",
    );
  }
  // Caches of its own, thrown away afterwards: the user's would keep 3 GB that nothing here removes again.
  const scratch = path.join(cache, "engine-build");
  const env = {
    ...process.env,
    GOPATH: path.join(scratch, "path"),
    GOMODCACHE: path.join(scratch, "modules"),
    GOCACHE: path.join(scratch, "objects"),
    GOFLAGS: "-mod=readonly -modcacherw",
    GOTOOLCHAIN: "auto",
    GOWORK: "off",
  };
  const linking = `-s -w -X ${goModule}/sdk/v3/go/common/version.Version=v${engineVersion}`;
  const partial = `${program}.partial`;
  const options = ["-tags", "osusergo,grpcnotrace", "-ldflags", linking, "-o", partial];
  fs.mkdirSync(path.dirname(program), { recursive: true });
  await run(outside(["go", "build", ...options, `${goModule}/pkg/v3/cmd/pulumi`]), {
    cwd: source("engine"),
    env,
    log,
    timeout: 1_800_000,
  });
  fs.renameSync(partial, program);
  fs.rmSync(scratch, { recursive: true, force: true });
}
