#include <cublasLt.h>

#include <array>
#include <map>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/lt_matmul.h"

namespace trimeter::cuda {
namespace {

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error(std::string("cuBLASLt: ") + what + ": " + cublasLtGetStatusString(status));
}

cublasLtHandle_t handle() {
  static const cublasLtHandle_t handle = [] {
    cublasLtHandle_t h = nullptr;
    check(cublasLtCreate(&h), "create");
    return h;
  }();
  return handle;
}

struct Types {
  cudaDataType_t in, out;
  cublasComputeType_t compute;
  cudaDataType_t scale;
};
Types types_of(WeightForm form) {
  switch (form) {
    case WeightForm::kF32:
      return {CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_PEDANTIC, CUDA_R_32F};
    case WeightForm::kF16:
      return {CUDA_R_16F, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUDA_R_32F};
    case WeightForm::kBF16:
      return {CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUDA_R_32F};
    case WeightForm::kE4M3:
      return {CUDA_R_8F_E4M3, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUDA_R_32F};
    case WeightForm::kI8:
      return {CUDA_R_8I, CUDA_R_32I, CUBLAS_COMPUTE_32I, CUDA_R_32I};
    default:
      unsupported("this form in cuBLASLt");
  }
}

// The descriptors of one shape and the algorithm cuBLASLt's heuristic names for it. In its column-major words A is w
// [k, n] transposed, B is x [k, m], C is y [n, m].
struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool found = false;
};

// form, scales by block, n, k, n_tokens, ldy
using Key = std::array<int64_t, 6>;

void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const auto& value) {
  check(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value), "descriptor");
}

Plan make_plan(const DeviceMatrix& w, const DeviceInput& x, int64_t ldy) {
  const Types types = types_of(w.form);
  Plan plan;
  check(cublasLtMatmulDescCreate(&plan.operation, types.compute, types.scale), "descriptor");
  set(plan.operation, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  if (w.form == WeightForm::kE4M3 && w.scale_form == ScaleForm::kBlock128) {
    set(plan.operation, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F);
    set(plan.operation, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F);
  } else if (w.form == WeightForm::kE4M3) {
    set(plan.operation, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
    set(plan.operation, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
  }
  if (w.form == WeightForm::kE4M3) {
    // The heuristic wants to see pointers; which ones does not matter to it.
    set(plan.operation, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, w.scales);
    set(plan.operation, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, static_cast<const void*>(x.scales));
  }
  check(cublasLtMatrixLayoutCreate(&plan.a, types.in, w.k, w.n, w.k), "layout");
  check(cublasLtMatrixLayoutCreate(&plan.b, types.in, w.k, x.n_tokens, w.k), "layout");
  check(cublasLtMatrixLayoutCreate(&plan.c, types.out, w.n, x.n_tokens, w.form == WeightForm::kI8 ? w.n : ldy),
        "layout");
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), "preference");
  const auto workspace_bytes = static_cast<size_t>(kLtWorkspaceBytes);
  check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                                             sizeof workspace_bytes),
        "preference");
  cublasLtMatmulHeuristicResult_t result{};
  int n_found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle(), plan.operation, plan.a, plan.b, plan.c, plan.c,
                                                               preference, 1, &result, &n_found);
  cublasLtMatmulPreferenceDestroy(preference);
  plan.found = status == CUBLAS_STATUS_SUCCESS && n_found > 0;
  plan.algorithm = result.algo;
  return plan;
}

const Plan& plan_of(const DeviceMatrix& w, const DeviceInput& x, int64_t ldy) {
  static std::map<Key, Plan> plans;  // descriptors live as long as the process
  const Key key{static_cast<int64_t>(w.form), w.scale_form == ScaleForm::kBlock128, w.n, w.k, x.n_tokens, ldy};
  auto it = plans.find(key);
  if (it == plans.end()) it = plans.emplace(key, make_plan(w, x, ldy)).first;
  return it->second;
}

}  // namespace

bool lt_multiplies(const DeviceMatrix& w, const DeviceInput& x) { return plan_of(w, x, w.n).found; }

bool lt_matmul(const DeviceMatrix& w, const DeviceInput& x, bool accumulate, float* y, int64_t ldy, int32_t* integers,
               void* workspace, cudaStream_t stream) {
  const Plan& plan = plan_of(w, x, ldy);
  if (!plan.found) return false;
  if (w.form == WeightForm::kE4M3) {
    set(plan.operation, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, w.scales);
    set(plan.operation, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, static_cast<const void*>(x.scales));
  }
  const float alpha = 1, beta = accumulate ? 1.0f : 0.0f;
  const int32_t one = 1, zero = 0;
  const bool is_int = w.form == WeightForm::kI8;
  void* out = is_int ? static_cast<void*>(integers) : static_cast<void*>(y);
  check(cublasLtMatmul(handle(), plan.operation, is_int ? static_cast<const void*>(&one) : &alpha, w.values, plan.a,
                       x.values, plan.b, is_int ? static_cast<const void*>(&zero) : &beta, out, plan.c, out, plan.c,
                       &plan.algorithm, workspace, kLtWorkspaceBytes, stream),
        "matmul");
  return true;
}

}  // namespace trimeter::cuda
