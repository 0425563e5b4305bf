// The one table of error bounds of attend and fit, against the double reference.
//
// u = 2^-24 is the unit roundoff of f32; k roundings in a chain move a sum of terms t by at most k u sum |t| (first
// order; the factor 1.1 covers the rest, as all k u here are below 0.1).
//
//   score     one chain of key_dim products on top of the bias, products and sums rounded apart at worst:
//             S = (key_dim + 4) u s, where s = largest |q||k| + largest |bias| >= the sum of the terms' magnitudes.
//             Queries and bias are multiplied by log2 e on the way in: one rounding, and u of the constant
//   power     of two, relative 2^-22.5 (kernel_body.h; the kernels test sweeps it): E. The argument, score - top, is
//             rounded once: |argument| u <= 2 s u
//   weight    power of its own tile's top, times 2^(tile's top - top), over the total. The total is a sum of 144 in a
//             chain, and one multiply-add and one power for each of the `tiles` corrections. Numerator and total each
//             carry score, argument (twice: two powers) and power errors, so
//             R = 2 (S + 4 s u) + (tiles + 3) E + (144 + 2 tiles + 8) u
//   flush     powers below 2^-125 become that: absolute 2^-124 on a weight, 2^-110 on a root mean square, whose squares
//             vanish below 2^-111 (kSquareScale)
//   maximum   R;   mean  R + (6 + blocks) u, rms the same and 4 u more: a tree over 48 lanes, a chain over blocks
//   outputs   (R + (cells + 2 tiles + 4) u) max |v|: the chain runs over all cells, with a scaling for each tile
#ifndef KVFOLD_ATTENTION_TESTS_BOUNDS_H
#define KVFOLD_ATTENTION_TESTS_BOUNDS_H

#include <cmath>
#include <cstddef>

namespace bounds {

constexpr double kRoundoff = 1.0 / (1 << 24);
const double kPower = std::ldexp(1.0, -22) / std::sqrt(2.0);
constexpr double kSecondOrder = 1.1;
const double kFlush = std::ldexp(1.0, -124), kSquareFlush = std::ldexp(1.0, -110);

struct Attend {
  double weight, mean, rms;  ///< relative
  double outputs;            ///< of the largest |v|

  Attend(size_t rows, size_t cells, size_t key_dim, double largest_score) {
    const double u = kRoundoff, tiles = std::ceil(static_cast<double>(cells) / 144);
    const double blocks = std::ceil(static_cast<double>(rows) / 48);
    const double score = (static_cast<double>(key_dim) + 4) * u * largest_score;
    weight = kSecondOrder * (2 * (score + 4 * largest_score * u) + (tiles + 3) * kPower + (144 + 2 * tiles + 8) * u);
    mean = weight + kSecondOrder * (6 + blocks) * u;
    rms = mean + kSecondOrder * 4 * u;
    outputs = weight + kSecondOrder * (static_cast<double>(cells) + 2 * tiles + 4) * u;
  }
};

// fit: the bound is on the objective r(X)^2 = |E - A X|^2 + ridge |X|^2, never on X itself: directions that no query
// asks for may differ freely. At the best point X*, r(X)^2 = r(X*)^2 + |X - X*|_M^2 with M = A^T A + ridge, so the test
// takes sqrt(r(X^)^2 - r(X*)^2) as the distance of the f32 solution X^. That one solves what f32 sees:
//
//   M (X^ - X*) = dA^T (E - A X^) + A^T (dE - dA X^) - D X^ + d, and |M^-1/2 A^T| <= 1, |M^-1/2| <= ridge^-1/2:
//   distance <= |dA||E - A X^| / sqrt(ridge) + |dE| + |dA||X^| + (|D||X^| + |d|) / sqrt(ridge)
//               + u (|V'| + |V*|) (|A| + sqrt(ridge))          (both sides' values are rounded to f32)
//
//   |dE|  the outputs' bound for every element: (outputs max |v|) sqrt(rows value_dim) + u |O|;   |dA|  R |A|
//   D, d  roundings of the normal equations and of their solution. The gram matrix sums chains of 128 and then chunks,
//         elimination sums chains of 32 and then steps; D_ij <= c u sqrt(M_ii M_jj) (Cauchy and Schwarz; Demmel), so
//         |D| <= c u trace(M) and |d| <= c u |A||E|, with c = 128 + rows / 128 for gram and right side and
//         32 + unknowns / 32 for the factor, the same again for the solves. Roundings of either sign nearly cancel in
//         sums: 6 sqrt(c) in the place of c holds with a probability of 1 - 1e-7 (Higham and Mary,
//         doi 10.1137/18M1226312).
//         A pivot that was raised adds up to 2^-18 of its diagonal entry to D.
//   dual  a = (A A^T + ridge)^-1 E, X = A^T a, so |a| = |E - A X| / ridge. An error D a^ of that system moves X by at
//         most |D||a^| in the norm of M, because A M A^T <= (A A^T + ridge)^2; the product A^T a rounds like the right
//         side, |dX| <= (|d| / |E|) |a|, which the norm of M stretches by at most |A| + sqrt(ridge).
//   errors that are reported: |dE| before; after also |dA||X|, and the roundings of A X, c = 96 + unknowns / 96.
struct Fit {
  double solve_matrix;  ///< |D| / trace(G + ridge)
  double solve_right;   ///< |d| / (|A||E|)
  double answer;        ///< error of A X / (|A||X|)

  Fit(size_t rows, size_t unknowns, bool guarded) {
    const double chunks = 128 + static_cast<double>(rows) / 128, steps = 32 + static_cast<double>(unknowns) / 32;
    answer = 6 * std::sqrt(96 + static_cast<double>(unknowns) / 96) * kRoundoff;
    solve_right = 6 * std::sqrt(chunks) * kRoundoff;
    solve_matrix = solve_right + 2 * 6 * std::sqrt(steps) * kRoundoff + (guarded ? std::ldexp(1.0, -18) : 0.0);
  }
};

}  // namespace bounds

#endif
