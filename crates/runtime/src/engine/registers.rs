//! The upper halves of vector registers, which the kernels of engines leave in use.

/// Says that nobody needs the upper halves of the vector registers any more.
///
/// While they are in use, a change between instructions of 128 bits in their old and in their new form takes
/// some processors a hundred cycles and more. What is compiled for plugins has both, and so have we together
/// with the C library.
pub(super) fn let_go() {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: the processor has the instruction, and by the calling convention (System V ABI for AMD64,
        // 3.2.1) whoever calls a function has nothing in these halves.
        #[allow(unsafe_code)]
        unsafe {
            std::arch::x86_64::_mm256_zeroupper();
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    #![allow(unsafe_code)] // Only the processor tells what is in use.

    use crate::engine::{Engine, EngineError};
    use crate::tensor::{Port, Tensor};
    use std::arch::x86_64::{__cpuid_count, _xgetbv};
    use std::arch::{asm, is_x86_feature_detected};

    /// Its kernel leaves the registers as those in assembly do.
    struct Careless;

    impl Engine for Careless {
        fn inputs(&self) -> &[Port] {
            &[]
        }

        fn outputs(&self) -> &[Port] {
            &[]
        }

        fn compute(&mut self, _inputs: &[&Tensor]) -> Result<Vec<Tensor>, EngineError> {
            // SAFETY: it changes one register, which is told.
            unsafe { asm!("vcmpps ymm7, ymm7, ymm7, 15", out("ymm7") _) };
            assert!(in_use());
            Ok(vec![])
        }
    }

    /// Whether the upper half of any of the first registers is in use: XINUSE, bit 2 (Intel's manual,
    /// volume 1, 13.6).
    fn in_use() -> bool {
        #[target_feature(enable = "xsave")]
        fn told() -> u64 {
            // SAFETY: the test has asked whether the processor tells.
            unsafe { _xgetbv(1) }
        }
        // SAFETY: the same.
        unsafe { told() & 4 != 0 }
    }

    #[test]
    fn what_runs_after_an_engine_finds_no_upper_half_in_use() {
        let tells = is_x86_feature_detected!("avx")
            && is_x86_feature_detected!("xsave")
            && __cpuid_count(0xd, 1).eax & 4 != 0;
        if tells {
            Careless.run(&[]).unwrap();
            assert!(!in_use());
        }
    }
}
