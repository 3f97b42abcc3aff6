// The first process of an enclave image. It is in the first ramdisk, beside the driver of the security module, and has the file system
// of the second one, /rootfs, for its root. It lets one connection in, from the parent, which the agent has at descriptor 3; when the
// agent ends, the enclave does.
//
// Node can use no AF_VSOCK socket, so that the agent's is a Unix one, and two processes here carry bytes between the two.
//
// It speaks to nobody but the console, which exists in debug mode only, where registers are zero and no key is given.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// The port of the agent: VSOCK_PORT of nitro.ts.
#define AGENT_PORT 5005
// Where nitro-cli waits to hear that the enclave is up, and what it is told (aws-nitro-enclaves-cli, ENCLAVE_READY_VSOCK_PORT).
#define PARENT_CID 3
#define READY_PORT 9000
#define HEARTBEAT 0xb7
// The agent's end of the channel: CHANNEL of agent-main.ts.
#define CHANNEL 3

static char *const AGENT[] = {"/usr/bin/node", "/enclave/agent/agent.mjs",
                              "--configuration", "/enclave/configuration.json",
                              "--nsm-helper", "/enclave/nsm-helper", NULL};
static char *const ENVIRONMENT[] = {"PATH=/usr/bin:/bin", "HOME=/tmp", "TMPDIR=/tmp", "TZ=UTC", "LC_ALL=C.UTF-8", NULL};

static void end(void) {
  reboot(RB_AUTOBOOT);
  _exit(1);
}

static void require(int is_done, const char *what) {
  if (is_done) return;
  char line[128];
  int length = snprintf(line, sizeof line, "init: %s: %s\n", what, strerror(errno));
  int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
  if (console >= 0 && length > 0 && write(console, line, (size_t)length) < 0) { /* There is no other place to say it. */ }
  end();
}

// The device file system that the kernel keeps; it may have mounted it already.
static void mount_devices(void) {
  require(mount("dev", "/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, NULL) == 0 || errno == EBUSY, "mount /dev");
}

// What is on descriptors 0 to 2 of everything that follows.
static void close_standard_streams(void) {
  int null = open("/dev/null", O_RDWR);
  require(null >= 0, "open /dev/null");
  for (int fd = 0; fd <= 2; fd++) require(dup2(null, fd) == fd, "dup2");
  if (null > 2) close(null);
}

// Kernels of AWS have the driver as a module; others have it built in.
static void load_security_module(void) {
  int file = open("/nsm.ko", O_RDONLY | O_CLOEXEC);
  if (file < 0 && errno == ENOENT) return;
  require(file >= 0, "open nsm.ko");
  require(syscall(SYS_finit_module, file, "", 0) == 0, "load nsm.ko");
  close(file);
}

// Makes /rootfs the root, as a mount of its own: of the kernel's first file system nobody can pivot away, as the sandbox of the
// renderers has to, and below a mere chroot no user namespace can be made.
static void enter_root(void) {
  require(mount("/rootfs", "/rootfs", NULL, MS_BIND | MS_REC, NULL) == 0, "bind /rootfs");
  require(chdir("/rootfs") == 0, "chdir /rootfs");
  require(mount(".", "/", NULL, MS_MOVE, NULL) == 0, "move /rootfs");
  require(chroot(".") == 0 && chdir("/") == 0, "chroot /rootfs");
  mount_devices();
  require(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0, "mount /proc");
  require(mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") == 0, "mount /tmp");
}

#ifndef UNIX_SOCKETS
static int at_endpoint(int (*use)(int, const struct sockaddr *, socklen_t), unsigned cid, unsigned port) {
  struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
  int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
  require(fd >= 0, "socket");
  require(use(fd, (struct sockaddr *)&address, sizeof address) == 0, "vsock");
  return fd;
}
#else
// For tests on machines without vsock: the same with sockets named for their port.
static int at_endpoint(int (*use)(int, const struct sockaddr *, socklen_t), unsigned cid, unsigned port) {
  (void)cid;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "/vsock-%u", port);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  require(fd >= 0, "socket");
  require(use(fd, (struct sockaddr *)&address, sizeof address) == 0, "socket of a test");
  return fd;
}
#endif

// Without it nitro-cli takes the enclave for one that did not start.
static void tell_ready(void) {
  uint8_t beat = HEARTBEAT;
  int fd = at_endpoint(connect, PARENT_CID, READY_PORT);
  require(write(fd, &beat, 1) == 1 && read(fd, &beat, 1) == 1 && beat == HEARTBEAT, "heartbeat");
  close(fd);
}

static pid_t start_agent(int channel) {
  pid_t pid = fork();
  require(pid >= 0, "fork");
  if (pid > 0) return pid;
  // A descriptor made anew is not closed by exec, as all others are.
  if (channel == CHANNEL ? fcntl(channel, F_SETFD, 0) == 0 : dup2(channel, CHANNEL) == CHANNEL)
    execve(AGENT[0], AGENT, ENVIRONMENT);
  _exit(127);
}

// Carries bytes from one socket to the other until there are no more, in a process of its own.
static void start_relay(int from, int to) {
  static char buffer[1 << 16];
  pid_t pid = fork();
  require(pid >= 0, "fork");
  if (pid > 0) return;
  ssize_t length;
  while ((length = read(from, buffer, sizeof buffer)) > 0) {
    for (ssize_t done = 0; done < length;) {
      ssize_t written = write(to, buffer + done, (size_t)(length - done));
      if (written < 0) _exit(1);
      done += written;
    }
  }
  shutdown(to, SHUT_WR);
  _exit(0);
}

int main(void) {
  mount_devices();
  close_standard_streams();
  load_security_module();
  int listener = at_endpoint(bind, VMADDR_CID_ANY, AGENT_PORT);
  require(listen(listener, 1) == 0, "listen");
  // Only now, so that whoever is told that the enclave is up can connect.
  tell_ready();
  enter_root();

  int parent = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  require(parent >= 0, "accept");
  close(listener);
  int pair[2];
  require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
  pid_t agent = start_agent(pair[1]);
  close(pair[1]);
  start_relay(parent, pair[0]);
  start_relay(pair[0], parent);
  close(parent);
  close(pair[0]);

  // Of all that end, orphans of the sandbox among them, only the agent matters.
  for (pid_t ended; (ended = wait(NULL)) != agent;) require(ended > 0, "wait");
  end();
}
