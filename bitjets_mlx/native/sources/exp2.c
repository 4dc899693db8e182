/* 2^x of |x| <= 1/2, of floats and of vectors of them: the polynomial of least relative error, 1e-7. */
#define EXP2_NEAR_ZERO(x) \
  (((((1.32764725e-3f * (x) + 9.67554096e-3f) * (x) + 5.55071309e-2f) * (x) + 2.40221202e-1f) * (x) + 6.93146944e-1f) * \
       (x) + 1.0f)
