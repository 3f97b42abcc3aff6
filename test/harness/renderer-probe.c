// A renderer that tries what it must not, for the tests of the sandbox. `renderer-probe ACTION ARGUMENT…` prints a line for each thing
// that it tried: OK, or the name of the error.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void say(const char *what, long result) {
  printf("%s %s\n", what, result < 0 ? strerrorname_np(errno) : "OK");
}

static int opened(const char *path, int flags) {
  int fd = open(path, flags, 0600);
  if (fd >= 0) close(fd);
  return fd;
}

static void list(const char *path) {
  DIR *folder = opendir(path);
  if (!folder) return say(path, -1);
  for (struct dirent *entry; (entry = readdir(folder));)
    if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) printf("%s/%s\n", path, entry->d_name);
  closedir(folder);
}

static int connected(const char *path, int abstract) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path + abstract, path, sizeof address.sun_path - 2);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  socklen_t length = offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path);
  return connect(fd, (struct sockaddr *)&address, length);
}

static void *nothing(void *argument) { return argument; }

static void fill(const char *path, size_t bytes) {
  static char block[1 << 16];
  memset(block, 7, sizeof block);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  for (size_t done = 0; done < bytes; done += sizeof block)
    if (write(fd, block, sizeof block) < (ssize_t)sizeof block) return say("write", -1);
  say("write", close(fd));
}

int main(int count, char **argument) {
  setvbuf(stdout, NULL, _IONBF, 0);
  const char *action = count > 1 ? argument[1] : "";
  char **rest = argument + 2;

  if (!strcmp(action, "calls")) {  // Numbers of system calls, each with arguments of 0.
    for (; *rest; rest++) say(*rest, syscall(atol(*rest), 0, 0, 0, 0, 0, 0));
  } else if (!strcmp(action, "socket")) {  // Numbers of address families.
    for (; *rest; rest++) {
      say(*rest, socket(atoi(*rest), SOCK_STREAM, 0));
      int pair[2];
      say(*rest, socketpair(atoi(*rest), SOCK_STREAM, 0, pair));
    }
  } else if (!strcmp(action, "connect")) {
    for (; *rest; rest++) say(*rest, **rest == '@' ? connected(*rest + 1, 1) : connected(*rest, 0));
  } else if (!strcmp(action, "read")) {
    for (; *rest; rest++) say(*rest, opened(*rest, O_RDONLY));
  } else if (!strcmp(action, "write")) {
    for (; *rest; rest++) say(*rest, opened(*rest, O_WRONLY | O_CREAT));
  } else if (!strcmp(action, "list")) {
    for (; *rest; rest++) list(*rest);
  } else if (!strcmp(action, "link")) {  // What a link leads to.
    for (; *rest; rest++) {
      char target[4096] = "";
      if (readlink(*rest, target, sizeof target - 1) < 0) say(*rest, -1);
      else printf("%s -> %s\n", *rest, target);
    }
  } else if (!strcmp(action, "environment")) {
    for (char **entry = environ; *entry; entry++) puts(*entry);
    struct utsname name;
    uname(&name);
    time_t now = 0;
    printf("host %s, time zone %s, uid %d, gid %d, pid %d, parent %d, session %d\n", name.nodename,
           localtime(&now)->tm_zone, getuid(), getgid(), getpid(), getppid(), getsid(0));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct capabilities[2];
    syscall(SYS_capget, &header, capabilities);
    int bounding = 0;
    for (int each = 0; each < 64; each++) bounding += prctl(PR_CAPBSET_READ, each) == 1;
    printf("capabilities %x %x %x %x, bounding %d, no new privileges %d, seccomp %d\n", capabilities[0].effective,
           capabilities[1].effective, capabilities[0].permitted, capabilities[1].permitted, bounding,
           prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_SECCOMP));
  } else if (!strcmp(action, "processes")) {
    say("signal to all", kill(-1, 0));
    for (int pid = 2; pid < 40000; pid++)
      if (kill(pid, 0) == 0) printf("there is a process %d\n", pid);
    say("fork", fork());
    pid_t pid;
    errno = posix_spawn(&pid, "/bin/renderer-probe", NULL, NULL, argument, environ);
    say("spawn", errno ? -1 : 0);
    pthread_t thread;
    errno = pthread_create(&thread, NULL, nothing, NULL);
    say("thread", errno ? -1 : pthread_join(thread, NULL));
  } else if (!strcmp(action, "forks")) {  // A fork bomb.
    for (int tries = 0; tries < 10000; tries++)
      if (fork() >= 0) puts("forked");
    say("fork", fork());
  } else if (!strcmp(action, "terminal")) {
    say("TIOCSTI", ioctl(0, TIOCSTI, "x"));
    say("TIOCLINUX", ioctl(0, TIOCLINUX, "x"));
    say("/dev/tty", opened("/dev/tty", O_RDWR));
  } else if (!strcmp(action, "limits")) {  // To raise what is limited.
    for (int each = 0; each < RLIM_NLIMITS; each++) {
      if (each != RLIMIT_AS && each != RLIMIT_CPU && each != RLIMIT_NOFILE && each != RLIMIT_CORE) continue;
      struct rlimit limit;
      getrlimit(each, &limit);
      limit.rlim_max++;
      say("more", setrlimit(each, &limit));
    }
  } else if (!strcmp(action, "alter")) {  // An input.
    int fd = open(*rest, O_RDONLY);
    printf("content %zd\n", read(fd, (char[64]){0}, 64));
    say("open for writing", opened(*rest, O_RDWR));
    say("truncate", truncate(*rest, 0));
    say("write", write(fd, "x", 1));
    say("chmod", chmod(*rest, 0600));
    say("fchmod", fchmod(fd, 0600));
    // POSIX.1e: user::rw-, group::---, other::---; setting it sets the mode.
    const char acl[] = "\2\0\0\0\1\0\6\0\377\377\377\377\4\0\0\0\377\377\377\377\40\0\0\0\377\377\377\377";
    say("access list", fsetxattr(fd, "system.posix_acl_access", acl, sizeof acl - 1, 0));
    say("fchown", fchown(fd, 65534, 65534));
    say("open for writing", opened(*rest, O_RDWR));
    say("unlink", unlink(*rest));
    say("hard link", linkat(AT_FDCWD, *rest, AT_FDCWD, "input", AT_SYMLINK_FOLLOW));
  } else if (!strcmp(action, "foreign")) {
#ifdef __x86_64__
    if (!strcmp(*rest, "i386")) {
      int result;
      __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
      printf("process %d\n", result);
    } else {
      printf("process %ld\n", syscall(0x40000000 | SYS_getpid));
    }
#endif
  } else if (!strcmp(action, "memory")) {
    for (size_t mebibytes = 0;; mebibytes++) {
      char *block = malloc(1 << 20);
      if (!block) return printf("%zu MiB\n", mebibytes), perror("memory"), 1;
      memset(block, 1, 1 << 20);
    }
  } else if (!strcmp(action, "spin")) {
    long times = *rest ? atol(*rest) : 0;
    for (volatile long turn = 0; times == 0 || turn < times; turn++) continue;
  } else if (!strcmp(action, "sleep")) {
    puts("asleep");
    for (;;) pause();
  } else if (!strcmp(action, "fill")) {  // Two files, of a number of bytes each.
    fill("a", atoll(*rest));
    fill("b", atoll(*rest));
  } else if (!strcmp(action, "leave")) {  // What is no output.
    const char *what = *rest;
    if (!strcmp(what, "symlink")) say(what, symlink("/etc/passwd", "link"));
    if (!strcmp(what, "folder-link")) say(what, symlink("/", "link"));
    if (!strcmp(what, "hard-link")) fill("a", 1), say(what, link("a", "b"));
    if (!strcmp(what, "socket")) {
      struct sockaddr_un address = {AF_UNIX, "socket"};
      say(what, bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address));
    }
    if (!strcmp(what, "sparse")) fill("a", 1), say(what, truncate("a", 1LL << 40));
    if (!strcmp(what, "hidden")) fill(".hidden", 1);
    if (!strcmp(what, "newline")) fill("a\nb", 1);
    if (!strcmp(what, "deep"))
      for (int depth = 0; depth < 7; depth++) say(what, mkdir("d", 0700) || chdir("d")), fill("file", 1);
    if (!strcmp(what, "many"))
      for (int each = 0; each < 5000; each++) {
        char name[32];
        sprintf(name, "%d", each);
        close(open(name, O_CREAT | O_WRONLY, 0600));
      }
    if (!strcmp(what, "moved")) {
      say("rename", rename("/work/out", "/work/elsewhere"));
      say("symlink", symlink("/usr/lib", "/work/out"));
    }
  } else if (!strcmp(action, "copy")) {  // Files, to one output.
    int out = open("copy", O_WRONLY | O_CREAT, 0600);
    for (; *rest; rest++) {
      int in = open(*rest, O_RDONLY);
      if (in < 0) return perror(*rest), 1;
      char block[4096];
      for (ssize_t length; (length = read(in, block, sizeof block)) > 0;)
        if (write(out, block, length) != length) return 1;
    }
  } else if (!strcmp(action, "tree")) {
    say("folders", mkdir("a", 0700) || mkdir("a/b", 0700) || mkdir("empty", 0700));
    fill("e", 1), fill("a/d", 1), fill("a/b/c", 1);
  } else if (!strcmp(action, "fail")) {
    fprintf(stderr, "first\nthe last word\n");
    return 3;
  } else {
    return 2;
  }
  return 0;
}
