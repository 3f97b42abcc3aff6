import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 10_000 } },
    // For two cores: many tests wait for a clock or a process. Four take as long, and browsers wait for each other.
    maxWorkers: 3,
  },
});
