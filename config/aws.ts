/** An optional package is not installed. */
export class MissingPackageError extends Error {
  readonly code = 'ERR_MISSING_PACKAGE';
  constructor(name: string) {
    super(`this needs a package that is not installed: npm install ${name}`);
    this.name = 'MissingPackageError';
  }
}

/**
 * Loads a module that needs AWS clients: optional peers, so that everything else works without them. Throws
 * `MissingPackageError`, which names the package.
 */
export async function loadAws<Module>(load: () => Promise<Module>): Promise<Module> {
  // The SDK tells everyone on Node 20 that releases of 2027 will not run there.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  try {
    return await load();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const [, name] = /'(@aws-sdk\/[\w-]+)'/.exec(message) ?? [];
    if (code !== 'ERR_MODULE_NOT_FOUND' || !name) throw error;
    throw new MissingPackageError(name);
  }
}
