/** What came of several things that were tried: the values of those that succeeded, and a problem that tells of all others. */
export function outcome(tried) {
  const values = tried.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
  const problems = tried.filter(({ status }) => status === "rejected").map(({ reason }) => reason);
  const problem = problems.length > 1 ? new Error(problems.map(({ message }) => message).join(" ")) : (problems[0] ?? null);
  return { values, problem };
}
