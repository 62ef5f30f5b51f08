// What is said of an image, as underhood/analysis/calibration.py does it: a label, a set of labels, or none of them.

// A run's calibration, with its arrays as numbers: { temperature, threshold, coverage, limits, distance_limit, rank,
// projection, prototypes, neighbours }. A run without sets has no limits; one without distances has null for distance_limit,
// rank, projection and prototypes. Without neighbours, the nearest prototype alone counts.
function calibrationOf({ projection, prototypes, ...numbers }) {
  return { ...numbers, projection: projection && numbersOf(projection), prototypes: prototypes && numbersOf(prototypes) };
}

// The same without what was found for one state of the weights: limits and prototypes
function withoutSets(calibration) {
  return { ...calibration, limits: [], distance_limit: null, rank: null, projection: null, prototypes: null };
}

// { probabilities; best: the most probable label; set: of labels, the most probable first, or null; distance: or null;
// reason: why no label is given: "blank", "distance", "confidence", or "" where one is }
function answerOf(calibration, pixels, logits, features) {
  const probabilities = softmax(logits, calibration.temperature), best = probabilities.indexOf(Math.max(...probabilities));
  const distance = calibration.prototypes ? distanceOf(features, calibration) : null;
  const set = calibration.limits.length ? setOf(probabilities, calibration.limits, best) : null;
  return { probabilities, best, set, distance, reason: reasonOf(calibration, pixels, probabilities[best], distance) };
}

// The labels whose probability reaches their limit, and always the most probable one
function setOf(probabilities, limits, best) {
  const labels = [...probabilities.keys()].filter((label) => label === best || probabilities[label] >= limits[label]);
  return labels.sort((a, b) => (b === best) - (a === best) || probabilities[b] - probabilities[a]);
}

function reasonOf({ threshold, distance_limit: limit }, pixels, probability, distance) {
  if (isBlank(pixels)) return "blank";
  if (distance !== null && limit !== null && !(distance <= limit)) return "distance";  // NaN included
  return probability < threshold ? "confidence" : "";
}

function isBlank({ data }) { return data.every((value) => value === data[0]); }

// 1 − the cosine of the angle between an image's features and a prototype, the mean of this for the nearest ones: 0 to 2.
// projection: [features, rank], onto a subspace in which the prototypes are, [prototypes, rank], each of length 1
function distanceOf(features, { projection, prototypes, rank, neighbours = 1 }) {
  const length = Math.max(1e-12, Math.sqrt(features.reduce((sum, value) => sum + value * value, 0)));
  const direction = new Float64Array(rank);
  for (let i = 0; i < features.length; i++) {
    const value = features[i] / length;
    for (let k = 0; k < rank && value; k++) direction[k] += value * projection[i * rank + k];
  }
  const cosines = Float64Array.from({ length: prototypes.length / rank }, (_, row) => sumOfProducts(prototypes, row * rank, direction));
  const nearest = cosines.sort().subarray(-neighbours);
  return 1 - nearest.reduce((sum, value) => sum + value, 0) / neighbours;
}
