// Hides AVX-512, AMX and what came with them from the programs that are preloaded with this, so that a machine that has them
// compiles shaders as one with AVX2 alone does.
//
// Compilers that work at run time (Mesa's and SwiftShader's LLVM, llama.cpp's choice of a library) ask the processor itself what
// it has, with CPUID. Linux can make that instruction a fault (arch_prctl(2), ARCH_SET_CPUID; /proc/cpuinfo lists
// "cpuid_fault"), and this answers in its place: the model says Broadwell, the features are what that one could have.
//
// tools/avx2/run.sh builds it and runs a program with it.
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define BROADWELL 0x000406F1u // family 6, model 4F

static struct sigaction chained; // what the program wanted to do at a true fault

static void mask(uint32_t leaf, uint32_t sub, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d) {
    if (leaf == 1) {
        *a = BROADWELL;
    } else if (leaf == 7 && sub == 0) {
        *b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 28 | 1u << 30 | 1u << 31); // F DQ IFMA CD BW VL
        *c &= ~(1u << 1 | 1u << 6 | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 14); // VBMI VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNTDQ
        *d &= ~(1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25); // VP2INTERSECT AMX-BF16 FP16 AMX-TILE AMX-INT8
    } else if (leaf == 7 && sub == 1) {
        *a = *b = *c = *d = 0; // AVX-VNNI, AVX512-BF16 and newer
    }
}

static void on_fault(int number, siginfo_t *info, void *context) {
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *at = (const uint8_t *)r[REG_RIP];
    // A general protection fault has no address; CPUID is 0F A2.
    if (info->si_code == SI_KERNEL && at[0] == 0x0F && at[1] == 0xA2) {
        uint32_t leaf = (uint32_t)r[REG_RAX], sub = (uint32_t)r[REG_RCX], a, b, c, d;
        syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
        __cpuid_count(leaf, sub, a, b, c, d);
        syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
        mask(leaf, sub, &a, &b, &c, &d);
        r[REG_RAX] = a, r[REG_RBX] = b, r[REG_RCX] = c, r[REG_RDX] = d;
        r[REG_RIP] += 2;
        return;
    }
    if (chained.sa_flags & SA_SIGINFO) {
        chained.sa_sigaction(number, info, context);
    } else if (chained.sa_handler != SIG_DFL && chained.sa_handler != SIG_IGN) {
        chained.sa_handler(number);
    } else {
        signal(SIGSEGV, SIG_DFL); // the fault comes again, and ends the program
    }
}

// What the program sets for SIGSEGV is kept aside.
int sigaction(int number, const struct sigaction *new, struct sigaction *old) {
    static int (*real)(int, const struct sigaction *, struct sigaction *);
    if (!real) real = dlsym(RTLD_NEXT, "sigaction");
    if (number != SIGSEGV) return real(number, new, old);
    if (old) *old = chained;
    if (new) chained = *new;
    return 0;
}

__attribute__((constructor)) static void hide(void) {
    static int (*real)(int, const struct sigaction *, struct sigaction *);
    real = dlsym(RTLD_NEXT, "sigaction");
    struct sigaction ours;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    real(SIGSEGV, &ours, 0);
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) {
        fprintf(stderr, "without_avx512: this processor cannot hide what it has\n");
        _exit(1); // what runs on would be measured as something that it is not
    }
}
