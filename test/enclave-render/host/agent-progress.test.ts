import { expect, test } from 'vitest';
import { taskProgress } from '../../../enclave-render/host/agent-progress.ts';

function progress() {
  const state = { told: [] as number[], time: 0, isTaken: true };
  let take = (): void => undefined;
  const tell = (percent: number) => {
    state.told.push(percent);
    return state.isTaken ? Promise.resolve() : new Promise<void>((resolve) => (take = resolve));
  };
  const say = async (share: number, later = 1000) => {
    state.time += later;
    report(share);
    await new Promise(setImmediate);
  };
  const report = taskProgress({ tell, now: () => state.time });
  return { state, say, take: () => take() };
}

test('tells whole percents, each higher than the one before', async () => {
  const { state, say } = progress();
  for (const share of [0, 0.004, 0.019, 0.01, 0.5, 0.4, Number.NaN, -1, 0.509, 0.51, 7, Number.POSITIVE_INFINITY, 1]) {
    await say(share);
  }
  expect(state.told).toEqual([1, 50, 51, 100]);
});

test('tells a hundred numbers at most, whatever a renderer says, and one a second', async () => {
  const { state, say } = progress();
  for (let at = 0; at < 5000; at++) await say(at / 5000, 100);
  expect(state.told.length).toBeLessThanOrEqual(100);
  expect(state.told).toEqual([...new Set(state.told)].sort((a, b) => a - b));
  const flood = progress();
  for (let at = 1; at <= 100; at++) await flood.say(at / 100, 9);
  expect(flood.state.told).toEqual([1]);
});

test('tells nothing before the last was taken, nor forgets to go on when it was refused', async () => {
  const { state, say, take } = progress();
  state.isTaken = false;
  await say(0.1);
  await say(0.2);
  expect(state.told).toEqual([10]);
  take();
  await new Promise(setImmediate);
  await say(0.3);
  expect(state.told).toEqual([10, 30]);
});
