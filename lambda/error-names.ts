/**
 * Has errors carry their code as their name: Lambda tells Step Functions the name alone, and state machines retry and catch by
 * it (Step Functions Developer Guide, "Error names").
 */
export function namedByCode<Input, Output>(handle: (input: Input) => Promise<Output>) {
  return async (input: Input): Promise<Output> => {
    try {
      return await handle(input);
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (error instanceof Error && typeof code === 'string' && code.startsWith('ERR_')) error.name = code;
      throw error;
    }
  };
}
