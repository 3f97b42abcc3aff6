// By what that which attaching makes is known again: undoing deletes nothing else, whatever the file of what was there says.

/** Of all policies. */
export const POLICY_PREFIX = 'portcullis-attach-';

/** Of all functions. */
export const COMPOSED_PREFIX = 'portcullis-with-';

/** The CallerReference of the staging copy of a distribution, which CloudFront keeps. */
export function stagingReference(primary: string): string {
  return `portcullis-attach-${primary}`;
}

/** A request to a staging distribution has this header; CloudFront demands the beginning of its name. */
export const STAGING_HEADER = { Header: 'aws-cf-cd-portcullis', Value: 'staging' };
