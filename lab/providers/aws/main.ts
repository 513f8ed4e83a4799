/** The lab's stand-in for pulumi-resource-aws 7; see lab/providers/README.md. */
import { serve } from "../protocol/server";
import { bucket } from "./bucket";
import { bucketFacets } from "./bucketFacets";
import { Clients } from "./clients";
import { accessKey, user, userPolicy } from "./iam";

// The SDK's advice on Node versions would come out beside the resources of every preview.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = "true";

const clients = new Clients();

serve({
  name: "aws",
  version: "7.48.0",
  configure: (settings) => clients.configure(settings),
  types: {
    "aws:s3/bucket:Bucket": bucket(clients),
    ...bucketFacets(clients),
    "aws:iam/user:User": user(clients),
    "aws:iam/userPolicy:UserPolicy": userPolicy(clients),
    "aws:iam/accessKey:AccessKey": accessKey(clients),
  },
});
