// Throughput of llama.cpp for bench/peers, through its C API alone, as llama-batched-bench measures it.
//   peers_llama MODEL THREADS FLASH_ATTENTION(0|1) PROMPT_TOKENS SHORT_PROMPT MAX_TOKENS BATCH...
// Prints "RESULT {}" when it is loaded and warm. For each line on stdin it runs prefill of one prompt and greedy-sized
// decoding (random tokens: which, no time depends on) at each batch, and prints "RESULT {"pp": t/s, "tgN": t/s, ...}".
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "llama.h"

enum { kUbatch = 512, kMostBatch = 64 };

static struct llama_context* context;
static struct llama_batch batch;
static int vocab_size;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void add(int sequence, int position, int wants_logits) {
  const int i = batch.n_tokens++;
  batch.token[i] = rand() % vocab_size;
  batch.pos[i] = position;
  batch.n_seq_id[i] = 1;
  batch.seq_id[i][0] = sequence;
  batch.logits[i] = (int8_t)wants_logits;
}

static void decode(void) {
  if (llama_decode(context, batch) != 0) {
    fprintf(stderr, "llama_decode failed\n");
    exit(1);
  }
  llama_synchronize(context);
  batch.n_tokens = 0;
}

static double prefill_s(int n_sequences, int n_prompt) {
  llama_memory_clear(llama_get_memory(context), false);
  const double begin = now();
  for (int s = 0; s < n_sequences; ++s)
    for (int i = 0; i < n_prompt; ++i) add(s, i, i == n_prompt - 1);
  decode();
  return now() - begin;
}

static double decode_s(int n_sequences, int n_prompt, int n_new) {
  prefill_s(n_sequences, n_prompt);
  const double begin = now();
  for (int i = 0; i < n_new; ++i) {
    for (int s = 0; s < n_sequences; ++s) add(s, n_prompt + i, 1);
    decode();
  }
  return now() - begin;
}

static void quiet(enum ggml_log_level level, const char* text, void* user) {
  (void)user;
  if (level >= GGML_LOG_LEVEL_ERROR && level != GGML_LOG_LEVEL_CONT) fputs(text, stderr);
}

int main(int argc, char** argv) {
  if (argc < 8) return 2;
  const int threads = atoi(argv[2]), prompt = atoi(argv[4]), short_prompt = atoi(argv[5]), new_tokens = atoi(argv[6]);
  int largest = 1;
  for (int i = 7; i < argc; ++i) largest = atoi(argv[i]) > largest ? atoi(argv[i]) : largest;
  if (largest > kMostBatch) return 2;
  llama_log_set(quiet, NULL);
  llama_backend_init();
  struct llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == NULL) return 1;
  const int of_one = prompt > short_prompt + new_tokens ? prompt + 1 : short_prompt + new_tokens;
  const int of_sequence = (of_one + 255) / 256 * 256;
  struct llama_context_params params = llama_context_default_params();
  params.n_ctx = (uint32_t)(largest * of_sequence);
  params.n_batch = params.n_ctx;
  params.n_ubatch = kUbatch;
  params.n_seq_max = (uint32_t)largest;
  params.n_threads = params.n_threads_batch = threads;
  params.flash_attn_type = atoi(argv[3]) ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  context = llama_init_from_model(model, params);
  if (context == NULL) return 1;
  vocab_size = llama_vocab_n_tokens(llama_model_get_vocab(model));
  batch = llama_batch_init((int32_t)params.n_ctx, 0, 1);

  prefill_s(1, prompt);
  decode_s(largest, short_prompt, 4);
  printf("RESULT {}\n");
  fflush(stdout);
  for (int c; (c = getchar()) != EOF;) {
    if (c != '\n') continue;
    printf("RESULT {\"pp\": %.4f", prompt / prefill_s(1, prompt));
    for (int i = 7; i < argc; ++i) {
      const int n = atoi(argv[i]);
      printf(", \"tg%d\": %.4f", n, n * new_tokens / decode_s(n, short_prompt, new_tokens));
    }
    printf("}\n");
    fflush(stdout);
  }
  llama_batch_free(batch);
  llama_free(context);
  llama_model_free(model);
  return 0;
}
