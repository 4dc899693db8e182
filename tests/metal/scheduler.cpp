// Runs the threads of a GPU grid on one CPU thread, threadgroup by threadgroup, each GPU thread a fiber.
//
// A simdgroup runs until all its lanes wait or are done; which simdgroup is next, and whether lanes run forwards or
// backwards, is drawn from the seed. Nothing else is synchronised, so that a missing barrier shows as a wrong result.
// Buffers lie against guard pages, at their end or at their beginning by the seed.
#include "scheduler.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace gpu {

Thread* current;
Counters counters;
Size threads_per_threadgroup, threadgroups_per_grid;

namespace {

constexpr size_t STACK = 64 << 10;
constexpr unsigned MOST_ARRAYS = 16;

enum class State { ready, collective, barrier, done };

struct Fiber : Thread {
    State state;
    int line;
    void (*resolve)(void**);
    void* argument;
    void* stack_pointer;  // x86-64
    ucontext_t context;   // elsewhere
};

struct Guarded {
    char* mapping;
    size_t mapped;
    char* data;
    size_t bytes;
};

Fiber fibers[MOST_THREADS];
char* stacks;
unsigned threads, simdgroups;
uint64_t random_state;
bool at_end;  // whether memory ends, rather than begins, at a guard page
Entry entry;
Buffer buffers[32];

struct SharedArray : Guarded {
    int line;
    bool poisoned;
};
SharedArray shared_arrays[MOST_ARRAYS];
unsigned shared_count;

char message[256];
sigjmp_buf end_of_launch;

unsigned draw(unsigned below) {
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return unsigned(random_state >> 33) % below;
}

// -- guard pages ---------------------------------------------------------------------------------------------------

Guarded guarded(size_t bytes) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE));
    const size_t inside = (bytes + page - 1) / page * page;
    const size_t room = 16 * page;  // so that a stride too far does not jump over the guard
    Guarded made;
    made.mapped = inside + 2 * room;
    made.mapping = static_cast<char*>(mmap(nullptr, made.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(made.mapping + room, inside, PROT_READ | PROT_WRITE);
    made.data = made.mapping + room + (at_end ? inside - bytes : 0);
    made.bytes = bytes;
    memset(made.mapping + room, 0xff, inside);
    return made;
}

void release(const Guarded& memory) { munmap(memory.mapping, memory.mapped); }

void on_fault(int, siginfo_t* info, void*) {
    snprintf(message, sizeof message, "access outside every buffer (thread %u, address %p)", current ? current->index : 0,
             info->si_addr);
    siglongjmp(end_of_launch, 1);
}

// -- fibers --------------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
void* scheduler_pointer;
extern "C" void gpu_switch(void** save, void* to);
asm(R"(.text
gpu_switch:
 pushq %rbp
 pushq %rbx
 pushq %r12
 pushq %r13
 pushq %r14
 pushq %r15
 movq %rsp, (%rdi)
 movq %rsi, %rsp
 popq %r15
 popq %r14
 popq %r13
 popq %r12
 popq %rbx
 popq %rbp
 ret
)");
void to_scheduler() { gpu_switch(&static_cast<Fiber*>(current)->stack_pointer, scheduler_pointer); }
void to_fiber(Fiber& fiber) { gpu_switch(&scheduler_pointer, fiber.stack_pointer); }
#else
ucontext_t scheduler_context;
void to_scheduler() { swapcontext(&static_cast<Fiber*>(current)->context, &scheduler_context); }
void to_fiber(Fiber& fiber) { swapcontext(&scheduler_context, &fiber.context); }
#endif

void start() {
    entry(buffers);
    static_cast<Fiber*>(current)->state = State::done;
    to_scheduler();
    abort();  // nobody resumes a thread that is done
}

void prepare(Fiber& fiber, char* stack) {
#if defined(__x86_64__)
    void** top = reinterpret_cast<void**>(stack + STACK);
    *--top = nullptr;  // where start() would return to; also keeps the stack aligned as after a call
    *--top = reinterpret_cast<void*>(start);
    for (int saved = 0; saved < 6; saved++) {
        *--top = nullptr;
    }
    fiber.stack_pointer = top;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stack;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, start, 0);
#endif
}

void wait(State state, int line) {
    Fiber* fiber = static_cast<Fiber*>(current);
    fiber->state = state;
    fiber->line = line;
    to_scheduler();
}

// -- one threadgroup -----------------------------------------------------------------------------------------------

// Runs a simdgroup until no lane can go on.
void run_simdgroup(unsigned simdgroup, bool backwards) {
    Fiber* lanes = fibers + simdgroup * SIMD;
    for (;;) {
        for (unsigned i = 0; i < SIMD; i++) {
            Fiber& fiber = lanes[backwards ? SIMD - 1 - i : i];
            if (fiber.state == State::ready) {
                current = &fiber;
                to_fiber(fiber);
            }
        }
        unsigned waiting = 0;
        void* arguments[SIMD];
        for (unsigned i = 0; i < SIMD; i++) {
            waiting += lanes[i].state == State::collective;
            arguments[i] = lanes[i].argument;
        }
        if (waiting == 0) {
            return;
        }
        for (unsigned i = 0; i < SIMD; i++) {
            if (lanes[i].state != State::collective || lanes[i].line != lanes[0].line ||
                lanes[i].history != lanes[0].history) {
                fail("divergent simd operation", "line", lanes[i].line);
            }
        }
        counters.simd_operations++;
        lanes[0].resolve(arguments);
        for (unsigned i = 0; i < SIMD; i++) {
            lanes[i].state = State::ready;
        }
    }
}

void run_threadgroup(Size position, bool backwards) {
    for (unsigned array = 0; array < shared_count; array++) {
        shared_arrays[array].poisoned = false;
    }
    for (unsigned i = 0; i < threads; i++) {
        Fiber& fiber = fibers[i];
        fiber.index = i;
        fiber.lane = i % SIMD;
        fiber.simdgroup = i / SIMD;
        fiber.in_threadgroup = {i % threads_per_threadgroup.x, i / threads_per_threadgroup.x % threads_per_threadgroup.y,
                                i / (threads_per_threadgroup.x * threads_per_threadgroup.y)};
        fiber.threadgroup = position;
        fiber.in_grid = {position.x * threads_per_threadgroup.x + fiber.in_threadgroup.x,
                         position.y * threads_per_threadgroup.y + fiber.in_threadgroup.y,
                         position.z * threads_per_threadgroup.z + fiber.in_threadgroup.z};
        fiber.history = 0;
        fiber.state = State::ready;
        prepare(fiber, stacks + i * STACK);
    }
    unsigned order[MOST_THREADS / SIMD];
    for (;;) {
        for (unsigned i = 0; i < simdgroups; i++) {
            order[i] = i;
        }
        for (unsigned i = simdgroups; i > 1; i--) {
            std::swap(order[i - 1], order[draw(i)]);
        }
        for (unsigned i = 0; i < simdgroups; i++) {
            run_simdgroup(order[i], backwards);
        }
        unsigned done = 0;
        for (unsigned i = 0; i < threads; i++) {
            done += fibers[i].state == State::done;
        }
        if (done == threads) {
            return;
        }
        for (unsigned i = 0; i < threads; i++) {
            if (fibers[i].state == State::done || fibers[i].line != fibers[0].line) {
                fail("barrier that not every thread reaches", "line", fibers[i].line);
            }
        }
        counters.barriers++;
        for (unsigned i = 0; i < threads; i++) {
            fibers[i].state = State::ready;
        }
    }
}

}  // namespace

// -- what kernels call ---------------------------------------------------------------------------------------------

void collective(void (*resolve)(void**), void* argument, int line) {
    Fiber* fiber = static_cast<Fiber*>(current);
    fiber->resolve = resolve;
    fiber->argument = argument;
    wait(State::collective, line);
}

void barrier(int line) { wait(State::barrier, line); }

void convergent(int line) { current->history = current->history * 31 + uint64_t(line); }

void* threadgroup_memory(size_t bytes, int line) {
    unsigned array = 0;
    while (array < shared_count && shared_arrays[array].line != line) {
        array++;
    }
    if (array == shared_count) {
        if (shared_count == MOST_ARRAYS) {
            fail("too many threadgroup arrays", "line", line);
        }
        static_cast<Guarded&>(shared_arrays[shared_count++]) = guarded(bytes);
        shared_arrays[array].line = line;
        counters.threadgroup_bytes += bytes;
    }
    SharedArray& memory = shared_arrays[array];
    if (!memory.poisoned) {
        memset(memory.data, 0xff, memory.bytes);  // NaN in half and float
        memory.poisoned = true;
    }
    return memory.data;
}

void fail(const char* what, const char* name, long index) {
    snprintf(message, sizeof message, "%s: %s %ld (thread %u)", what, name, index, current ? current->index : 0);
    siglongjmp(end_of_launch, 1);
}

}  // namespace gpu

// Runs a grid. `data`, `bytes`, `elements` describe `count` buffers, of which those with `is_output` are copied back;
// `moved` gets the bytes that were read or written of each.
// Returns 0, or 1 and a message in `error` (256 bytes).
extern "C" int gpu_launch(gpu::Entry entry, int count, void** data, const long* bytes, const long* elements,
                          const int* is_output, const unsigned* threadgroups, const unsigned* group, uint64_t seed,
                          uint64_t* moved, gpu::Counters* counted, char* error) {
    using namespace gpu;
    gpu::entry = entry;
    threads_per_threadgroup = {group[0], group[1], group[2]};
    threadgroups_per_grid = {threadgroups[0], threadgroups[1], threadgroups[2]};
    threads = group[0] * group[1] * group[2];
    simdgroups = threads / SIMD;
    random_state = seed;
    at_end = seed & 1;
    counters = {};
    shared_count = 0;
    message[0] = 0;
    current = nullptr;
    if (threads > MOST_THREADS || threads % SIMD != 0 || count > 32) {
        snprintf(error, 256, "%u threads in a threadgroup, %d buffers", threads, count);
        return 1;
    }
    if (!stacks) {
        stacks = static_cast<char*>(
            mmap(nullptr, MOST_THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    }
    Guarded memory[32];
    uint8_t* written[32] = {};
    for (int i = 0; i < count; i++) {
        memory[i] = guarded(size_t(bytes[i]));
        if (is_output[i]) {
            written[i] = static_cast<uint8_t*>(calloc(size_t(elements[i]), 1));
        } else {
            memcpy(memory[i].data, data[i], size_t(bytes[i]));
        }
        moved[i] = 0;
        buffers[i] = {memory[i].data, elements[i], written[i], moved + i};
    }

    static char signal_stack[1 << 16];
    stack_t alternate = {}, previous_stack;
    alternate.ss_sp = signal_stack;
    alternate.ss_size = sizeof signal_stack;
    sigaltstack(&alternate, &previous_stack);
    struct sigaction action = {}, previous_segv, previous_bus;
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
    if (sigsetjmp(end_of_launch, 1) == 0) {
        const unsigned all = threadgroups[0] * threadgroups[1] * threadgroups[2];
        for (unsigned i = 0; i < all; i++) {
            const unsigned n = seed & 2 ? all - 1 - i : i;
            run_threadgroup({n % threadgroups[0], n / threadgroups[0] % threadgroups[1], n / (threadgroups[0] * threadgroups[1])},
                            seed & 4);
        }
        for (int i = 0; i < count; i++) {
            for (long k = 0; is_output[i] && k < elements[i]; k++) {
                if (!written[i][k]) {
                    fail("element never written", "index", k);
                }
            }
        }
    }
    sigaction(SIGSEGV, &previous_segv, nullptr);
    sigaction(SIGBUS, &previous_bus, nullptr);
    sigaltstack(&previous_stack, nullptr);
    for (int i = 0; i < count; i++) {
        if (is_output[i]) {
            memcpy(data[i], memory[i].data, size_t(bytes[i]));
            free(written[i]);
        }
        release(memory[i]);
    }
    for (unsigned array = 0; array < shared_count; array++) {
        release(shared_arrays[array]);
    }
    *counted = counters;
    snprintf(error, 256, "%s", message);
    return message[0] != 0;
}
