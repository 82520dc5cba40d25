//! The offsets that the kernel programs need, from the running kernel.

use std::io::Read;
use std::path::Path;

use defenseclaw_abi::Offsets;

use super::btf::{Btf, BtfError, MAX_BTF_BYTES};

/// Where the kernel shows its types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Reads the BTF blob at `path`.
pub fn read_blob(path: &Path) -> Result<Vec<u8>, BtfError> {
    let unreadable = |reason: String| BtfError::Unreadable {
        path: path.display().to_string(),
        reason,
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut blob = Vec::new();
    file.take(MAX_BTF_BYTES + 1)
        .read_to_end(&mut blob)
        .map_err(|error| unreadable(error.to_string()))?;
    if blob.len() as u64 > MAX_BTF_BYTES {
        return Err(unreadable(format!("it is larger than {MAX_BTF_BYTES} bytes")));
    }
    Ok(blob)
}

/// Resolves every offset. The first one that is missing stops the sensor: a program that reads at a guessed place would
/// report nonsense.
pub fn resolve(blob: &[u8]) -> Result<Offsets, BtfError> {
    let btf = Btf::parse(blob)?;
    let at = |path: &str| btf.offset(path);
    Ok(Offsets {
        task_pid: at("task_struct.pid")?,
        task_tgid: at("task_struct.tgid")?,
        task_group_leader: at("task_struct.group_leader")?,
        task_real_parent: at("task_struct.real_parent")?,
        // Named real_start_time before Linux 5.5.
        task_start_boottime: at("task_struct.start_boottime")
            .or_else(|_| at("task_struct.real_start_time"))?,
        task_exit_code: at("task_struct.exit_code")?,
        task_signal: at("task_struct.signal")?,
        task_mm: at("task_struct.mm")?,
        task_fs: at("task_struct.fs")?,
        task_files: at("task_struct.files")?,
        task_compat_status: x86(&btf, "task_struct.thread_info.status")?,
        signal_live: at("signal_struct.live")?,
        signal_flags: at("signal_struct.flags")?,
        signal_group_exit_code: at("signal_struct.group_exit_code")?,
        mm_arg_start: at("mm_struct.arg_start")?,
        mm_arg_end: at("mm_struct.arg_end")?,
        fs_pwd: at("fs_struct.pwd")?,
        files_fdt: at("files_struct.fdt")?,
        fdt_max_fds: at("fdtable.max_fds")?,
        fdt_fd: at("fdtable.fd")?,
        file_path: at("file.f_path")?,
        file_inode: at("file.f_inode")?,
        file_mode: at("file.f_mode")?,
        file_private_data: at("file.private_data")?,
        path_mnt: at("path.mnt")?,
        path_dentry: at("path.dentry")?,
        dentry_name: at("dentry.d_name.name")?,
        dentry_parent: at("dentry.d_parent")?,
        vfsmount_root: at("vfsmount.mnt_root")?,
        mount_mnt: at("mount.mnt")?,
        mount_parent: at("mount.mnt_parent")?,
        mount_mountpoint: at("mount.mnt_mountpoint")?,
        inode_mode: at("inode.i_mode")?,
        inode_ino: at("inode.i_ino")?,
        inode_sb: at("inode.i_sb")?,
        inode_rdev: at("inode.i_rdev")?,
        sb_dev: at("super_block.s_dev")?,
        bprm_file: at("linux_binprm.file")?,
        bprm_filename: at("linux_binprm.filename")?,
        socket_sk: at("socket.sk")?,
        sk_type: at("sock.sk_type")?,
        sk_protocol: at("sock.sk_protocol")?,
        sk_family: at("sock.__sk_common.skc_family")?,
        sk_daddr: at("sock.__sk_common.skc_daddr")?,
        sk_dport: at("sock.__sk_common.skc_dport")?,
        sk_v6_daddr: at("sock.__sk_common.skc_v6_daddr")?,
        regs_syscall: native(&btf, "pt_regs.orig_ax", "pt_regs.syscallno")?,
        regs_arg0: native(&btf, "pt_regs.di", "pt_regs.orig_x0")?,
        regs_arg1: if cfg!(target_arch = "x86_64") {
            at("pt_regs.si")?
        } else {
            8
        },
        regs_compat_arg0: x86(&btf, "pt_regs.bx")?,
        regs_pstate: if cfg!(target_arch = "aarch64") {
            at("pt_regs.pstate")?
        } else {
            0
        },
        pad: 0,
    })
}

fn native(btf: &Btf<'_>, x86_64: &str, aarch64: &str) -> Result<u32, BtfError> {
    btf.offset(if cfg!(target_arch = "x86_64") {
        x86_64
    } else {
        aarch64
    })
}

fn x86(btf: &Btf<'_>, path: &str) -> Result<u32, BtfError> {
    if cfg!(target_arch = "x86_64") {
        btf.offset(path)
    } else {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_file_says_what_is_needed() {
        let error = read_blob(Path::new("/nonexistent/vmlinux")).unwrap_err();
        assert!(error.to_string().contains("CONFIG_DEBUG_INFO_BTF"), "{error}");
    }
}
