import * as assert from "node:assert/strict";
import * as grpc from "@grpc/grpc-js";
import * as settings from "@pulumi/pulumi/runtime/settings";
import { separateConnections } from "../../lab/inlinePrograms";

const identity = (content: Buffer): Buffer => content;

const service: grpc.ServiceDefinition = {
  ask: {
    ...{ path: "/test/ask", requestStream: false, responseStream: false },
    ...{ requestSerialize: identity, requestDeserialize: identity },
    ...{ responseSerialize: identity, responseDeserialize: identity },
  },
};

describe("inline programs", () => {
  it("reach an engine on a port where an earlier one was called after its end", async () => {
    separateConnections();
    const first = await serve(0);
    const [early, late] = [connect(first.port), connect(first.port)];
    try {
      assert.equal(await ask(early), "an answer");
      first.server.forceShutdown();
      assert.match(await ask(early), /^14 /);
      const second = await serve(first.port);
      const answer = await ask(late);
      second.server.forceShutdown();
      assert.equal(answer, "an answer");
    } finally {
      for (const client of [early, late]) client.close();
    }
  });
});

function serve(port: number): Promise<{ server: grpc.Server; port: number }> {
  const server = new grpc.Server();
  server.addService(service, {
    ask: (_: unknown, answer: grpc.sendUnaryData<Buffer>) => answer(null, Buffer.from("an answer")),
  });
  return new Promise((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve({ server, port: bound }),
    );
  });
}

/** As the SDK connects to the engine. */
function connect(port: number): grpc.Client {
  const { grpcClientOptions } = settings as unknown as { grpcClientOptions: grpc.ClientOptions };
  return new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), grpcClientOptions);
}

function ask(client: grpc.Client): Promise<string> {
  return new Promise((resolve) => {
    client.makeUnaryRequest("/test/ask", identity, identity, Buffer.from("a question"), (error, answer) =>
      resolve(error ? `${error.code} ${error.details}` : String(answer)),
    );
  });
}
