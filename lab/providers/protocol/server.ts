/**
 * Serves a stand-in to the engine over Pulumi's own provider protocol.
 *
 * `main` of @pulumi/pulumi/provider would do for most of this, but it keeps the provider's configuration to itself
 * (no region, no endpoints), never says whether a call is a preview, and fails on `pulumi import`.
 */
import * as grpc from "@grpc/grpc-js";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import { Struct } from "google-protobuf/google/protobuf/struct_pb";
import { ResourceProviderService } from "@pulumi/pulumi/proto/provider_grpc_pb";
import * as messages from "@pulumi/pulumi/proto/provider_pb";
import { PluginInfo } from "@pulumi/pulumi/proto/plugin_pb";
import { EngineLog } from "./engineLog";
import type { Context, Failure, ResourceType, StandIn } from "./provider";
import { differences, equal, isObject, object, Props, UNKNOWN, unwrap, Value } from "./values";

type Handler<Request, Response> = grpc.handleUnaryCall<Request, Response>;

/** Starts serving and prints the port, which is how the engine finds the plugin. */
export function serve(standIn: StandIn): void {
  const cancelled = new AbortController();
  const log = new EngineLog(engineAddress(process.argv.slice(2)));
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
  server.addService(ResourceProviderService, handlers(standIn, log, cancelled));
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    console.log(String(port));
  });
}

/** The engine's address is what remains of the arguments beside its logging options. */
function engineAddress(args: string[]): string | undefined {
  return args.find((arg, i) => !arg.startsWith("-") && args[i - 1] !== "--tracing");
}

function handlers(standIn: StandIn, log: EngineLog, cancelled: AbortController): grpc.UntypedServiceImplementation {
  const typeOf = (request: { getUrn(): string }): ResourceType => {
    const token = typeToken(request.getUrn());
    const type = standIn.types[token];
    if (type) return type;
    const known = Object.keys(standIn.types).join(", ");
    throw new Error(
      `the lab's stand-in for the ${standIn.name} provider does not know the type '${token}', only ${known}; ` +
        `the official plugin does`,
    );
  };
  const context = (urn: string): Context => ({
    urn,
    name: urn.split("::").slice(3).join("::"),
    signal: cancelled.signal,
    log: (severity, message, ephemeral = false) => log.send(severity, message, urn, ephemeral),
  });

  const check = reply(async (request: messages.CheckRequest) => {
    const type = typeOf(request);
    const given = properties(request.getNews());
    const inputs = type.defaults?.(given, properties(request.getOlds()), context(request.getUrn()).name) ?? given;
    const response = new messages.CheckResponse().setInputs(struct(inputs));
    return response.setFailuresList(failures(type, given).map(failureMessage));
  });

  const diff = reply(async (request: messages.DiffRequest) => diffResponse(typeOf(request), request));

  const create = reply(async (request: messages.CreateRequest) => {
    const type = typeOf(request);
    const inputs = properties(request.getProperties());
    if (request.getPreview()) return new messages.CreateResponse().setProperties(struct(foreseen(type, inputs)));
    const { id, state } = await type.create(inputs, context(request.getUrn()));
    return new messages.CreateResponse().setId(id).setProperties(struct(state));
  });

  const read = reply(async (request: messages.ReadRequest) => {
    const type = typeOf(request);
    const [state, inputs] = [properties(request.getProperties()), properties(request.getInputs())];
    const live = type.read ? await type.read(request.getId(), state, inputs) : { state, inputs };
    if (!live) return new messages.ReadResponse();
    const response = new messages.ReadResponse().setId(request.getId());
    return response.setProperties(struct(live.state)).setInputs(struct(live.inputs));
  });

  const update = reply(async (request: messages.UpdateRequest) => {
    const type = typeOf(request);
    const [state, inputs] = [properties(request.getOlds()), properties(request.getNews())];
    const after = request.getPreview()
      ? foreseen(type, inputs, type.volatile ? undefined : state)
      : await type.update(request.getId(), state, inputs, context(request.getUrn()));
    return new messages.UpdateResponse().setProperties(struct(after));
  });

  const remove = reply(async (request: messages.DeleteRequest) => {
    const state = properties(request.getProperties());
    await typeOf(request).delete(request.getId(), state, context(request.getUrn()));
    return new Empty();
  });

  function reply<Request, Response>(answer: (request: Request) => Promise<Response>): Handler<Request, Response> {
    return (call, callback) => {
      answer(call.request)
        .finally(() => log.sent())
        .then((response) => callback(null, response), fail(callback));
    };
  }

  return {
    check,
    diff,
    create,
    read,
    update,
    delete: remove,
    checkConfig: reply(async (request: messages.CheckRequest) =>
      new messages.CheckResponse().setInputs(request.getNews()),
    ),
    diffConfig: reply(async (request: messages.DiffRequest) =>
      // Another region or endpoint holds other resources, but the official plugin replaces nothing for it either.
      new messages.DiffResponse().setChanges(
        equal(properties(request.getOldInputs()), properties(request.getNews()))
          ? messages.DiffResponse.DiffChanges.DIFF_NONE
          : messages.DiffResponse.DiffChanges.DIFF_SOME,
      ),
    ),
    configure: reply(async (request: messages.ConfigureRequest) => {
      standIn.configure?.(object(unwrap(properties(request.getArgs()))));
      // Secrets are not accepted: the engine then unwraps them for us, and marks outputs named like secret inputs.
      return new messages.ConfigureResponse().setSupportspreview(true);
    }),
    getPluginInfo: reply(async () => new PluginInfo().setVersion(standIn.version)),
    getSchema: reply(async () =>
      new messages.GetSchemaResponse().setSchema(JSON.stringify({ name: standIn.name, version: standIn.version })),
    ),
    invoke: reply(async (request: messages.InvokeRequest) => {
      throw new Error(`the lab's stand-in for the ${standIn.name} provider has no function '${request.getTok()}'`);
    }),
    attach: reply(async () => new Empty()),
    cancel: reply(async () => {
      cancelled.abort();
      return new Empty();
    }),
  };
}

function diffResponse(type: ResourceType, request: messages.DiffRequest): messages.DiffResponse {
  const [before, after] = [properties(request.getOldInputs()), properties(request.getNews())];
  for (const key of request.getIgnorechangesList()) after[key] = before[key] ?? null;
  const changes = differences(before, after).filter(
    ({ path }) => !type.equivalent?.(topLevel(path), before[topLevel(path)] ?? null, after[topLevel(path)] ?? null),
  );
  const response = new messages.DiffResponse()
    .setChanges(messages.DiffResponse.DiffChanges[changes.length === 0 ? "DIFF_NONE" : "DIFF_SOME"])
    .setDiffsList([...new Set(changes.map(({ path }) => topLevel(path)))])
    .setHasdetaileddiff(true);
  const { Kind } = messages.PropertyDiff;
  for (const { path, change } of changes) {
    const replaces = type.replaceOn.includes(topLevel(path));
    const kind = {
      add: replaces ? Kind.ADD_REPLACE : Kind.ADD,
      delete: replaces ? Kind.DELETE_REPLACE : Kind.DELETE,
      update: replaces ? Kind.UPDATE_REPLACE : Kind.UPDATE,
    }[change];
    response.getDetaileddiffMap().set(path, new messages.PropertyDiff().setKind(kind).setInputdiff(true));
    if (replaces) response.addReplaces(topLevel(path));
  }
  return response;
}

const topLevel = (path: string): string => path.replace(/[.[].*$/s, "");

/** The state that a preview expects: the inputs, and outputs as they were or not known yet. */
function foreseen(type: ResourceType, inputs: Props, state: Props = {}): Props {
  const outputs = type.computed.map((key) => [key, state[key] ?? UNKNOWN] as const);
  return { ...Object.fromEntries(outputs), ...inputs };
}

function failures(type: ResourceType, inputs: Props): Failure[] {
  const missing = type.required.filter((key) => (inputs[key] ?? null) === null);
  const unknown = Object.keys(inputs).filter((key) => !type.inputs.includes(key) && key !== "__defaults");
  return [
    ...missing.map((property) => ({ property, reason: `Missing required property '${property}'` })),
    ...unknown.map((property) => ({ property, reason: `the lab's stand-in does not know this property` })),
  ];
}

const failureMessage = ({ property, reason }: Failure): messages.CheckFailure =>
  new messages.CheckFailure().setProperty(property).setReason(reason);

const fail = (callback: grpc.sendUnaryData<never>) => (error: unknown) =>
  callback({ code: grpc.status.UNKNOWN, details: error instanceof Error ? error.message : String(error) });

function properties(message: Struct | undefined): Props {
  const value: unknown = message?.toJavaScript() ?? {};
  return isObject(value) ? value : {};
}

const struct = (props: Props): Struct => Struct.fromJavaScript(withoutNull(props));

/** Properties that are not set are left out rather than stored as null. */
const withoutNull = (props: Props): { [key: string]: Exclude<Value, null> } =>
  Object.fromEntries(
    Object.entries(props).filter((entry): entry is [string, Exclude<Value, null>] => (entry[1] ?? null) !== null),
  );

/** `urn:pulumi:stack::project::parent$type::name` → `type`. */
const typeToken = (urn: string): string => (urn.split("::")[2] ?? "").split("$").pop() ?? "";
