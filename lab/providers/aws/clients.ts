import { readFileSync } from "node:fs";
import type { IAM } from "@aws-sdk/client-iam";
import type { S3 } from "@aws-sdk/client-s3";
import { isObject, list, Props, text, Value } from "../protocol/values";

type Service = "s3" | "iam";

/** The API clients of one provider, made when first needed: loading them takes longer than starting the plugin. */
export class Clients {
  private settings: Props = {};
  private s3Client: Promise<S3> | undefined;
  private iamClient: Promise<IAM> | undefined;

  /** Takes the provider's inputs. Throws like the official plugin where region or credentials are nowhere to be had. */
  configure(settings: Props): void {
    this.settings = Object.fromEntries(Object.entries(settings).map(([key, value]) => [key, decoded(value)]));
    if (!this.region) throw new Error("invalid AWS Region: not set, neither as aws:region nor as AWS_REGION");
    this.credentials();
  }

  get region(): string {
    return text(this.settings.region) ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION ?? "";
  }

  s3(): Promise<S3> {
    return (this.s3Client ??= import("@aws-sdk/client-s3").then(
      ({ S3 }) =>
        new S3({ ...this.common("s3"), region: this.region, forcePathStyle: this.settings.s3UsePathStyle === true }),
    ));
  }

  iam(): Promise<IAM> {
    return (this.iamClient ??= import("@aws-sdk/client-iam").then(
      // IAM is one for all regions, and signed for this one.
      ({ IAM }) => new IAM({ ...this.common("iam"), region: "us-east-1" }),
    ));
  }

  private common(service: Service) {
    const bundle = text(this.settings.customCaBundle) ?? process.env.AWS_CA_BUNDLE;
    const ca = bundle ? readFileSync(bundle) : undefined;
    const httpsAgent = { keepAlive: true, ca, rejectUnauthorized: this.settings.insecure !== true };
    return {
      endpoint: this.endpoint(service),
      credentials: this.credentials(),
      requestHandler: { httpsAgent, connectionTimeout: 10_000 },
    };
  }

  private endpoint(service: Service): string | undefined {
    const given = list(this.settings.endpoints).filter(isObject);
    const own = given.map((endpoints) => text(endpoints[service])).find((url) => url);
    const variable = process.env[`AWS_ENDPOINT_URL_${service.toUpperCase()}`] ?? process.env.AWS_ENDPOINT_URL;
    return own ?? (variable || undefined);
  }

  private credentials() {
    const env = process.env;
    const accessKeyId = text(this.settings.accessKey) ?? env.AWS_ACCESS_KEY_ID;
    const secretAccessKey = text(this.settings.secretKey) ?? env.AWS_SECRET_ACCESS_KEY;
    if (!accessKeyId || !secretAccessKey) {
      throw new Error(
        "No valid credential sources found. Set aws:accessKey and aws:secretKey, or AWS_ACCESS_KEY_ID and " +
          "AWS_SECRET_ACCESS_KEY (the lab's stand-in reads no profiles)",
      );
    }
    return { accessKeyId, secretAccessKey, sessionToken: text(this.settings.token) ?? env.AWS_SESSION_TOKEN };
  }
}

/** Provider inputs that are not strings arrive as JSON text. */
function decoded(value: Value): Value {
  if (typeof value !== "string" || !/^(true|false|[[{].*[\]}])$/s.test(value)) return value;
  try {
    return JSON.parse(value) as Value;
  } catch {
    return value;
  }
}
