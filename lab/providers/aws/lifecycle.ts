import type { LifecycleRule, LifecycleRuleFilter } from "@aws-sdk/client-s3";
import { flag, isObject, number, object, Props, required, text, Value } from "../protocol/values";
import { asTags, fromTags } from "./naming";

/** Parts of a rule that the product does not use; leaving them out silently would test something else. */
const NOT_SUPPORTED = ["prefix", "transitions", "noncurrentVersionTransitions"];

/** One rule of aws.s3.BucketLifecycleConfiguration, as the API wants it. */
export function toLifecycleRule(rule: Props): LifecycleRule {
  const unsupported = NOT_SUPPORTED.filter((key) => (rule[key] ?? null) !== null);
  if (unsupported.length > 0) throw new Error(`the lab's stand-in does not support rules.${unsupported.join(", ")}`);
  const abort = number(object(rule.abortIncompleteMultipartUpload).daysAfterInitiation);
  const noncurrent = object(rule.noncurrentVersionExpiration);
  return {
    ID: required(rule, "id"),
    Status: required(rule, "status") === "Enabled" ? "Enabled" : "Disabled",
    Filter: toFilter(object(rule.filter)),
    Expiration: isObject(rule.expiration) ? toExpiration(rule.expiration) : undefined,
    NoncurrentVersionExpiration: isObject(rule.noncurrentVersionExpiration)
      ? {
          NoncurrentDays: number(noncurrent.noncurrentDays),
          NewerNoncurrentVersions: number(noncurrent.newerNoncurrentVersions),
        }
      : undefined,
    AbortIncompleteMultipartUpload: abort === undefined ? undefined : { DaysAfterInitiation: abort },
  };
}

/** The same rule as inputs of the resource; what is not set is null. */
export function fromLifecycleRule(rule: LifecycleRule): Props {
  const { Expiration: expiration, NoncurrentVersionExpiration: noncurrent } = rule;
  return {
    id: rule.ID ?? null,
    status: rule.Status ?? null,
    filter: fromFilter(rule.Filter),
    expiration: expiration
      ? {
          days: expiration.Days ?? null,
          date: expiration.Date?.toISOString() ?? null,
          expiredObjectDeleteMarker: expiration.ExpiredObjectDeleteMarker || null,
        }
      : null,
    noncurrentVersionExpiration: noncurrent
      ? {
          noncurrentDays: noncurrent.NoncurrentDays ?? null,
          newerNoncurrentVersions: noncurrent.NewerNoncurrentVersions ?? null,
        }
      : null,
    abortIncompleteMultipartUpload: rule.AbortIncompleteMultipartUpload
      ? { daysAfterInitiation: rule.AbortIncompleteMultipartUpload.DaysAfterInitiation ?? null }
      : null,
  };
}

function toExpiration(expiration: Props): LifecycleRule["Expiration"] {
  const date = text(expiration.date);
  return {
    Days: number(expiration.days),
    Date: date === undefined ? undefined : new Date(date),
    ExpiredObjectDeleteMarker: flag(expiration.expiredObjectDeleteMarker),
  };
}

/** No filter at all covers the whole bucket, which the API writes as an empty prefix. */
function toFilter(filter: Props): LifecycleRuleFilter {
  const { and, tag } = filter;
  if (isObject(and)) return { And: { ...toScope(and), Tags: asTags(object(and.tags)) } };
  if (isObject(tag)) return { Tag: { Key: required(tag, "key"), Value: text(tag.value) ?? "" } };
  const scope = toScope(filter);
  return scope.ObjectSizeGreaterThan === undefined && scope.ObjectSizeLessThan === undefined
    ? { Prefix: scope.Prefix ?? "" }
    : scope;
}

const toScope = (scope: Props) => ({
  Prefix: text(scope.prefix),
  ObjectSizeGreaterThan: number(scope.objectSizeGreaterThan),
  ObjectSizeLessThan: number(scope.objectSizeLessThan),
});

function fromFilter(filter: LifecycleRuleFilter | undefined): Value {
  const { And: and, Tag: tag } = filter ?? {};
  if (and) return { and: { ...fromScope(and), tags: fromTags(and.Tags) } };
  if (tag) return { tag: { key: tag.Key ?? null, value: tag.Value ?? null } };
  return fromScope(filter ?? {});
}

const fromScope = (scope: LifecycleRuleFilter): Props => ({
  prefix: scope.Prefix || null,
  objectSizeGreaterThan: scope.ObjectSizeGreaterThan ?? null,
  objectSizeLessThan: scope.ObjectSizeLessThan ?? null,
});
