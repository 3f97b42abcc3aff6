// What AWS is told by the capabilities in documents of its own: policies, the script of an instance. Built into
// dist/infra/documents.cjs, from which infra/ takes them as they are.
export { parentStatements, parentUserData } from './host/aws/user-data.ts';
export { RENDER_CONTEXT, renderKeyPolicy } from './kms/key-policy.ts';
export { jobRolePolicy } from './mastering/jobs/job-role.ts';
export { contentKeyContext } from './packaging/content-keys.ts';
export { bucketPolicy } from './storage/bucket/policy.ts';
