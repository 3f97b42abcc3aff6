import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 10_000 } },
    // For two cores: many tests wait for a clock or a process. With more, the browsers of several tests wait for each other.
    maxWorkers: 4,
  },
});
