/** How every client asks: a network that swallows packets must not keep anybody waiting. */
export const CLIENT = {
  maxAttempts: 2,
  requestHandler: { connectionTimeout: 5_000, requestTimeout: 30_000, throwOnRequestTimeout: true },
};
