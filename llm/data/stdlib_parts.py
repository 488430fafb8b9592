"""Ten parts of the standard library, after the chapters of the library reference: the classes of the demo's task.

Small chapters stand with their neighbours so that no class is tiny: text beside data types, archives and file formats beside
files. Modules of no part are the tables of pydoc's topics and what the interpreter's build keeps for itself.
"""

from typing import Final

PARTS: Final[dict[str, tuple[str, ...]]] = {
    part: tuple(modules.split())
    for part, modules in {
        "text and data types": """
            string re difflib textwrap stringprep rlcompleter codecs encodings locale gettext datetime _strptime zoneinfo calendar
            collections _collections_abc heapq bisect weakref types copy pprint reprlib enum graphlib functools operator""",
        "numbers": "numbers decimal _pydecimal fractions random statistics",
        "files and archives": """
            pathlib fileinput stat filecmp tempfile glob fnmatch linecache shutil ntpath posixpath genericpath nturl2path
            pickle copyreg shelve dbm sqlite3 tarfile zipfile gzip bz2 lzma _compression csv configparser tomllib netrc plistlib""",
        "operating system": """
            os io _pyio argparse getopt optparse logging getpass curses platform ctypes pty tty signal crypt pipes shlex cmd
            hashlib hmac secrets _osx_support _aix_support""",
        "concurrency": """
            asyncio threading _threading_local multiprocessing concurrent subprocess sched queue selectors contextvars""",
        "internet protocols": """
            http urllib wsgiref ftplib poplib imaplib smtplib smtpd nntplib telnetlib uuid socketserver xmlrpc ipaddress socket ssl
            webbrowser cgi cgitb asynchat asyncore""",
        "internet data": "email json mailbox mailcap mimetypes base64 quopri uu html xml _markupbase xdrlib",
        "graphical interfaces": "tkinter idlelib turtle turtledemo",
        "development tools": """
            typing pydoc doctest unittest lib2to3 pdb bdb trace tracemalloc profile cProfile pstats timeit distutils ensurepip venv
            zipapp""",
        "language and runtime": """
            importlib zipimport pkgutil modulefinder runpy imp inspect ast symtable dis opcode pickletools tokenize token keyword
            tabnanny pyclbr py_compile compileall contextlib abc _py_abc dataclasses warnings traceback site _sitebuiltins sysconfig
            code codeop __future__""",
    }.items()
}
_PART_OF: Final = {module: part for part, modules in PARTS.items() for module in modules}


def part_of(module: str) -> str | None:
    """The part that a module, or one within it, belongs to; None for one of no part."""
    return _PART_OF.get(module.partition(".")[0])
