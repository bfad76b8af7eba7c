//! Arguments in, exit code out.

use std::process::ExitCode;

/// Messages under load are many small allocations: this one gives and takes them faster.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    peerproof::cli::main()
}
