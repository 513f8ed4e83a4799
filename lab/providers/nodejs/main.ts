/**
 * The lab's stand-in for pulumi-language-nodejs; see lab/providers/README.md. It starts the program as the official one
 * does, by @pulumi/pulumi's own `cmd/run`, and answers the engine's other questions as far as a preview or an update
 * asks them.
 */
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import * as path from "node:path";
import * as grpc from "@grpc/grpc-js";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import { LanguageRuntimeService } from "@pulumi/pulumi/proto/language_grpc_pb";
import * as messages from "@pulumi/pulumi/proto/language_pb";
import { PluginInfo } from "@pulumi/pulumi/proto/plugin_pb";

/** Exit status of `cmd/run` after it has told the user why: the engine then says no more. */
const SAID_WHY = 32;

const engine = process.argv.slice(2).find((word) => !word.startsWith("-")) ?? "";

/** Runs the program to its end. What it prints goes to the engine's display through our own output. */
function run(request: messages.RunRequest): Promise<messages.RunResponse> {
  const info = request.getInfo();
  const directory = info?.getProgramDirectory() ?? request.getPwd();
  const typescript = info?.getOptions()?.toJavaScript().typescript !== false;
  const main = createRequire(path.join(directory, "package.json")).resolve("@pulumi/pulumi/cmd/run");
  const flags = {
    monitor: request.getMonitorAddress(),
    engine,
    organization: request.getOrganization(),
    project: request.getProject(),
    stack: request.getStack(),
    pwd: request.getPwd(),
    parallel: String(request.getParallel()),
    "root-directory": info?.getRootDirectory() ?? directory,
  };
  const words = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
  if (request.getDryrun()) words.push("--dry-run");
  const program = spawn(process.execPath, [main, ...words, info?.getEntryPoint() ?? ".", ...request.getArgsList()], {
    cwd: request.getPwd(),
    stdio: ["ignore", "inherit", "inherit"],
    env: {
      ...process.env,
      PULUMI_NODEJS_TYPESCRIPT: String(typescript),
      PULUMI_CONFIG: JSON.stringify(Object.fromEntries(request.getConfigMap().toArray())),
      PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(request.getConfigsecretkeysList()),
    },
  });
  return new Promise((resolve, reject) => {
    program.once("error", reject);
    program.once("close", (code, signal) => {
      const response = new messages.RunResponse();
      if (code === SAID_WHY) response.setBail(true);
      else if (code !== 0) response.setError(`Program exited with ${signal ?? `non-zero exit code: ${code}`}`);
      resolve(response);
    });
  });
}

const server = new grpc.Server();
const answer =
  <Request, Response>(
    work: (request: Request) => Promise<Response> | Response,
  ): grpc.handleUnaryCall<Request, Response> =>
  (call, callback) => {
    Promise.resolve(call.request)
      .then(work)
      .then(
        (response) => callback(null, response),
        (error: unknown) => callback({ code: grpc.status.UNKNOWN, details: String(error) }),
      );
  };

server.addService(LanguageRuntimeService, {
  run: answer(run),
  handshake: answer(() => new messages.LanguageHandshakeResponse()),
  getPluginInfo: answer(() => new PluginInfo().setVersion("1.0.0")),
  // The lab has put the plugins where the engine finds them.
  getRequiredPackages: answer(() => new messages.GetRequiredPackagesResponse()),
  getRequiredPlugins: answer(() => new messages.GetRequiredPluginsResponse()),
  about: answer(() => new messages.AboutResponse().setExecutable(process.execPath).setVersion(process.version)),
  cancel: answer(() => new Empty()),
});

server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(String(port));
});
