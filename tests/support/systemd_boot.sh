# Boots a real systemd over this machine's own files, in namespaces of its own; whatever it writes goes with it.
#   sh systemd_boot.sh STAGE PREFIX INTERPRETER SITE PROJECT
# STAGE/root-files is copied over the root, STAGE/out is /out there; SITE and PROJECT are what Python imports from.
set -e
stage=$1 prefix=$2 interpreter=$3 site=$4 project=$5
root=$stage/root
mkdir -p "$stage/over" "$root"
mount --make-rprivate /
mount -t tmpfs tmpfs "$stage/over"
mkdir "$stage/over/upper" "$stage/over/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$stage/over/upper,workdir=$stage/over/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
  touch "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
touch "$root/dev/console"

# An environment as it is installed by hand: /opt/errandry, with an interpreter that its users can reach.
mkdir -p "$root/opt/python" "$root/opt/site" "$root/opt/source" "$root/opt/errandry" "$root/out"
mount --bind "$prefix" "$root/opt/python"
mount --bind "$site" "$root/opt/site"
mount --bind "$project" "$root/opt/source"
mount --bind "$stage/out" "$root/out"
# An interpreter with a library of its own names it by its old place, which nobody but root may be able to reach.
echo /opt/python/lib > "$root/etc/ld.so.conf.d/000-errandry.conf"
chroot "$root" ldconfig
chroot "$root" "/opt/python/bin/$interpreter" -m venv --without-pip /opt/errandry
packages=$(echo "$root"/opt/errandry/lib/python3*/site-packages)
printf '%s\n' /opt/source /opt/site > "$packages/errandry.pth"
printf '#!/opt/errandry/bin/python3\nimport sys\nfrom workers.cli import main\nsys.exit(main())\n' > "$root/opt/errandry/bin/errandry"
printf '#!/opt/errandry/bin/python3\nimport sys\nfrom workers.health import main\nsys.exit(main())\n' > "$root/opt/errandry/bin/errandry-health"
chmod 755 "$root/opt/errandry/bin/errandry" "$root/opt/errandry/bin/errandry-health"

# Nothing of what this machine itself starts.
rm -rf "$root"/etc/systemd/system/*.wants "$root"/usr/lib/systemd/system/*.wants
cp -r "$stage/root-files/." "$root/"
chroot "$root" systemd-sysusers

# Not chroot: whoever lives in one is refused user namespaces.
mkdir -p "$root/old"
cd "$root"
pivot_root . old
umount -l /old
# As a machine has it: credentials are mounted beside the units that get them.
mount --make-rshared /
exec env -i container=errandry PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=booted.target --log-target=null
