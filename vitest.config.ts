import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 10_000 } },
    // For two cores: many tests wait for a clock or a process; more workers only make the browser tests slow.
    maxWorkers: 3,
  },
});
