interface ApiError extends Error {
  readonly $metadata?: { readonly httpStatusCode?: number; readonly requestId?: string };
}

/** Runs API calls; a failure says what was being done to what, as the official plugin says it. */
export async function doing<T>(action: string, calls: () => Promise<T>): Promise<T> {
  try {
    return await calls();
  } catch (error) {
    throw new Error(`${action}: ${explain(error as ApiError)}`, { cause: error });
  }
}

function explain({ name, message, $metadata }: ApiError): string {
  const status = $metadata?.httpStatusCode;
  if (status === undefined) return message || name;
  return `https response error StatusCode: ${status}, RequestID: ${$metadata?.requestId ?? ""}, api error ${name}: ${message}`;
}

/** The answer, or undefined where the API says by one of these codes that there is none. */
export async function unless<T>(codes: readonly string[], call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (codes.includes((error as ApiError).name)) return undefined;
    throw error;
  }
}
