import type { IAM } from "@aws-sdk/client-iam";
import type { ResourceType } from "../protocol/provider";
import { equal, object, Props, required, secret, text } from "../protocol/values";
import type { Clients } from "./clients";
import { doing, unless } from "./errors";
import { asTags, fromTags, withAutoName } from "./naming";
import { samePolicy } from "./policyText";

const GONE = ["NoSuchEntityException", "NoSuchEntity"];

export const user = (clients: Clients): ResourceType => ({
  inputs: ["name", "path", "tags", "forceDestroy"],
  required: [],
  replaceOn: ["name", "path"],
  computed: ["arn", "uniqueId", "tagsAll"],

  defaults: (inputs, previous, name) =>
    withAutoName("name", { path: "/", forceDestroy: false, ...inputs }, previous, name),

  async create(inputs) {
    const UserName = required(inputs, "name");
    const created = await doing(`creating IAM User (${UserName})`, async () =>
      (await clients.iam()).createUser({ UserName, Path: text(inputs.path), Tags: asTags(object(inputs.tags)) }),
    );
    const { Arn, UserId } = created.User ?? {};
    return {
      id: UserName,
      state: { ...inputs, arn: Arn ?? null, uniqueId: UserId ?? null, tagsAll: object(inputs.tags) },
    };
  },

  async read(id, _state, inputs) {
    return doing(`reading IAM User (${id})`, async () => {
      const iam = await clients.iam();
      const live = await unless(GONE, () => iam.getUser({ UserName: id }));
      if (!live?.User) return undefined;
      const tags = fromTags(live.User.Tags);
      const same = equal(tags, object(inputs.tags));
      const now = { ...inputs, name: id, path: live.User.Path ?? "/", ...(same ? {} : { tags }) };
      const outputs = { arn: live.User.Arn ?? null, uniqueId: live.User.UserId ?? null, tagsAll: tags };
      return { inputs: now, state: { ...now, ...outputs } };
    });
  },

  async update(id, state, inputs) {
    await doing(`updating IAM User (${id})`, async () => {
      const iam = await clients.iam();
      const [before, after] = [object(state.tags), object(inputs.tags)];
      const removed = Object.keys(before).filter((key) => !(key in after));
      if (removed.length > 0) await iam.untagUser({ UserName: id, TagKeys: removed });
      if (Object.keys(after).length > 0) await iam.tagUser({ UserName: id, Tags: asTags(after) });
    });
    return { ...state, ...inputs, tagsAll: object(inputs.tags) };
  },

  async delete(id, state) {
    await doing(`deleting IAM User (${id})`, async () => {
      const iam = await clients.iam();
      await unless(GONE, async () => {
        if (state.forceDestroy === true) await strip(iam, id);
        await iam.deleteUser({ UserName: id });
      });
    });
  },
});

/** Takes away what would keep a user from being deleted. */
async function strip(iam: IAM, UserName: string): Promise<void> {
  const { AccessKeyMetadata = [] } = await iam.listAccessKeys({ UserName });
  for (const { AccessKeyId } of AccessKeyMetadata) await iam.deleteAccessKey({ UserName, AccessKeyId });
  const { PolicyNames = [] } = await iam.listUserPolicies({ UserName });
  for (const PolicyName of PolicyNames) await iam.deleteUserPolicy({ UserName, PolicyName });
}

export const userPolicy = (clients: Clients): ResourceType => {
  const put = async (inputs: Props): Promise<void> => {
    const [UserName, PolicyName] = [required(inputs, "user"), required(inputs, "name")];
    await doing(`putting IAM User (${UserName}) Policy (${PolicyName})`, async () =>
      (await clients.iam()).putUserPolicy({ UserName, PolicyName, PolicyDocument: required(inputs, "policy") }),
    );
  };
  const parts = (id: string): { UserName: string; PolicyName: string } => {
    const [UserName = "", PolicyName = ""] = id.split(":");
    return { UserName, PolicyName };
  };
  return {
    inputs: ["name", "user", "policy"],
    required: ["user", "policy"],
    replaceOn: ["name", "user"],
    computed: [],
    equivalent: samePolicy,
    defaults: (inputs, previous, name) => withAutoName("name", inputs, previous, name),

    async create(inputs) {
      await put(inputs);
      return { id: `${required(inputs, "user")}:${required(inputs, "name")}`, state: inputs };
    },

    async read(id, _state, inputs) {
      const { UserName, PolicyName } = parts(id);
      const live = await doing(`reading IAM User (${UserName}) Policy (${PolicyName})`, async () => {
        const iam = await clients.iam();
        return unless(GONE, () => iam.getUserPolicy({ UserName, PolicyName }));
      });
      if (!live) return undefined;
      const document = decodeURIComponent(live.PolicyDocument ?? "");
      const policy = samePolicy("policy", inputs.policy ?? null, document) ? (inputs.policy ?? null) : document;
      const now = { user: UserName, name: PolicyName, policy };
      return { inputs: now, state: now };
    },

    async update(_id, _state, inputs) {
      await put(inputs);
      return inputs;
    },

    async delete(id) {
      await doing(`deleting IAM User Policy (${id})`, async () => {
        const iam = await clients.iam();
        await unless(GONE, () => iam.deleteUserPolicy(parts(id)));
      });
    },
  };
};

export const accessKey = (clients: Clients): ResourceType => ({
  inputs: ["user", "status"],
  required: ["user"],
  replaceOn: ["user"],
  computed: ["secret", "createDate"],
  defaults: (inputs) => ({ status: "Active", ...inputs }),

  async create(inputs) {
    const UserName = required(inputs, "user");
    return doing(`creating IAM Access Key (${UserName})`, async () => {
      const iam = await clients.iam();
      const { AccessKey: key } = await iam.createAccessKey({ UserName });
      if (!key?.AccessKeyId || !key.SecretAccessKey) throw new Error("empty response");
      if (inputs.status === "Inactive") await setStatus(iam, UserName, key.AccessKeyId, inputs);
      const made = { secret: secret(key.SecretAccessKey), createDate: key.CreateDate?.toISOString() ?? null };
      return { id: key.AccessKeyId, state: { ...inputs, ...made } };
    });
  },

  async read(id, state, inputs) {
    const UserName = required(state, "user");
    return doing(`reading IAM Access Key (${id})`, async () => {
      const iam = await clients.iam();
      const live = await unless(GONE, () => iam.listAccessKeys({ UserName }));
      const key = live?.AccessKeyMetadata?.find(({ AccessKeyId }) => AccessKeyId === id);
      if (!key) return undefined;
      const now = { ...inputs, user: UserName, status: key.Status ?? "Active" };
      return { inputs: now, state: { ...keepSecret(state), ...now } };
    });
  },

  async update(id, state, inputs) {
    const UserName = required(inputs, "user");
    await doing(`updating IAM Access Key (${id})`, async () => setStatus(await clients.iam(), UserName, id, inputs));
    return { ...keepSecret(state), ...inputs };
  },

  async delete(id, state) {
    await doing(`deleting IAM Access Key (${id})`, async () => {
      const iam = await clients.iam();
      await unless(GONE, () => iam.deleteAccessKey({ UserName: required(state, "user"), AccessKeyId: id }));
    });
  },
});

const setStatus = (iam: IAM, UserName: string, AccessKeyId: string, inputs: Props) =>
  iam.updateAccessKey({ UserName, AccessKeyId, Status: inputs.status === "Inactive" ? "Inactive" : "Active" });

/** The engine hands the secret over in clear; handed back, it must be marked again. */
const keepSecret = (state: Props): Props =>
  state.secret === undefined ? state : { ...state, secret: secret(state.secret) };
