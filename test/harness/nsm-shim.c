/* Stands for /dev/nsm in a program that is started with it in LD_PRELOAD: hands each ioctl on to the socket
 * NSM_SHIM_SOCKET, as frames, or refuses it with the error NSM_SHIM_ERRNO. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

struct nsm_raw {
	uint64_t request, request_len, response, response_len;
};

int open(const char *path, int flags, ...)
{
	if (strcmp(path, "/dev/nsm") != 0)
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *name = getenv("NSM_SHIM_SOCKET");
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(address.sun_path, name ? name : "", sizeof(address.sun_path) - 1);
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? fd : -1;
}

static int transfer(int fd, int out, uint8_t *bytes, size_t count)
{
	for (size_t done = 0; done < count;) {
		ssize_t n = out ? write(fd, bytes + done, count - done) : read(fd, bytes + done, count - done);
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	struct nsm_raw *raw = va_arg(arguments, struct nsm_raw *);
	va_end(arguments);
	const char *refused = getenv("NSM_SHIM_ERRNO");
	errno = request != 0xC0200A00 ? EINVAL : raw->request_len > 0x1000 ? EMSGSIZE : refused ? atoi(refused) : 0;
	if (errno != 0)
		return -1;
	uint32_t n = (uint32_t)raw->request_len;
	uint8_t length[4] = { (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n };
	if (transfer(fd, 1, length, 4) || transfer(fd, 1, (uint8_t *)(uintptr_t)raw->request, n) ||
	    transfer(fd, 0, length, 4)) {
		errno = EIO;
		return -1;
	}
	n = (uint32_t)length[0] << 24 | (uint32_t)length[1] << 16 | (uint32_t)length[2] << 8 | length[3];
	if (n > raw->response_len || transfer(fd, 0, (uint8_t *)(uintptr_t)raw->response, n)) {
		errno = EIO;
		return -1;
	}
	raw->response_len = n;
	return 0;
}
