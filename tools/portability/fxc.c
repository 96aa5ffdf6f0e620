/* Shows HLSL to FXC, the shader compiler inside Windows, as wgpu-hal 30 does: strict, optimized, shader model 5.1.

   fxc.exe DIR SECONDS    compiles what DIR/list.tsv names (file, tab, entry point); one that takes more processor time is a failure.

   Built by scripts/portability.sh and run under Wine, with Microsoft's d3dcompiler_47.dll beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>
#include <d3dcompiler.h>

typedef HRESULT(WINAPI *Compile)(LPCVOID, SIZE_T, LPCSTR, const void *, void *, LPCSTR, LPCSTR, UINT, UINT, ID3DBlob **, ID3DBlob **);

static const UINT STRICTNESS = 1 << 11; /* D3DCOMPILE_ENABLE_STRICTNESS */

static char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *size = ftell(file);
    rewind(file);
    text = malloc(*size + 1);
    if (text && fread(text, 1, *size, file) != *size) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

/* Of this process, so that what else the machine does is not counted. */
static DWORD processor_ms(void) {
    FILETIME created, ended, kernel, user;
    ULARGE_INTEGER inside, outside;
    if (!GetProcessTimes(GetCurrentProcess(), &created, &ended, &kernel, &user)) return GetTickCount();
    inside.LowPart = kernel.dwLowDateTime, inside.HighPart = kernel.dwHighDateTime;
    outside.LowPart = user.dwLowDateTime, outside.HighPart = user.dwHighDateTime;
    return (DWORD)((inside.QuadPart + outside.QuadPart) / 10000);
}

int main(int count, char **arguments) {
    char line[1024], path[2048], slowest[1024] = "none";
    int passed = 0, failed = 0;
    DWORD longest = 0;
    HMODULE library = LoadLibraryA("d3dcompiler_47.dll");
    Compile compile = library ? (Compile)(void *)GetProcAddress(library, "D3DCompile") : NULL;
    FILE *list;
    if (count != 3 || !compile) {
        puts(compile ? "usage: fxc.exe DIR SECONDS" : "there is no d3dcompiler_47.dll");
        return 2;
    }
    snprintf(path, sizeof path, "%s/list.tsv", arguments[1]);
    list = fopen(path, "rb");
    if (!list) {
        printf("%s cannot be read\n", path);
        return 2;
    }
    while (fgets(line, sizeof line, list)) {
        char *name = strtok(line, "\t\r\n"), *entry = strtok(NULL, "\t\r\n"), *text;
        ID3DBlob *code = NULL, *messages = NULL;
        DWORD begun, took;
        HRESULT result;
        size_t size = 0;
        if (!entry) continue;
        snprintf(path, sizeof path, "%s/%s", arguments[1], name);
        text = read_file(path, &size);
        if (!text) {
            printf("FAIL %s cannot be read\n", name);
            failed++;
            continue;
        }
        begun = processor_ms();
        result = compile(text, size, name, NULL, NULL, entry, "cs_5_1", STRICTNESS, 0, &code, &messages);
        took = processor_ms() - begun;
        free(text);
        if (took >= longest) {
            longest = took;
            strcpy(slowest, name);
        }
        if (FAILED(result) || !code) {
            printf("FAIL %s %.*s\n", name, messages ? (int)messages->lpVtbl->GetBufferSize(messages) : 0,
                   messages ? (char *)messages->lpVtbl->GetBufferPointer(messages) : "");
            failed++;
        } else if (took > 1000u * (DWORD)atoi(arguments[2])) {
            printf("FAIL %s takes %.1f s, %s at most\n", name, took / 1000.0, arguments[2]);
            failed++;
        } else {
            passed++;
        }
        fflush(stdout);
    }
    printf("slowest: %s, %.1f s\n", slowest, longest / 1000.0);
    printf("fxc: %d passed, %d failed\n", passed, failed);
    return failed || !passed;
}
