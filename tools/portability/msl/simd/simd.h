// Apple's <simd/simd.h>, which naga includes and its compute shaders need nothing of.
#pragma once
